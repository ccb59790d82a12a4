/* source_internal: what the files of the module source share; nobody else includes it.
 *
 *     source.c         the tables and the query, checked; keys as parameters, and from results
 *     source_fetch.c   a batch's rows; the root table's keys: all of them, those that are absent
 *     source_check.c   what is no mistake, but seldom meant
 *     source_change.c  what has changed: the horizon, pages of a table, the root's keys that they
 *                      affect
 */
#pragma once
#include "source/source.h"

enum { SOURCE_SQL_MAX = 64 << 20 }; /* bytes: a statement, or one parameter of it */

/* ---- building SQL ---- */

/* "q.a, q.b": the key's columns, each behind a prefix. */
void source_add_columns(struct buf *b, const struct source_key *k, const char *prefix);
/* "k0, k1": the columns of a list of keys. */
void source_add_aliases(struct buf *b, const struct source_key *k);
/* "$3::uuid, $4::text" */
void source_add_parameters(struct buf *b, const struct source_key *k, int first);
/* A condition for some keys: "q.a = ANY($1::uuid[])". */
void source_add_choice(struct buf *b, const struct source_key *k, const char *prefix, int first);

/* ---- keys as parameters ---- */

struct source_parameters { /* of one key, or arrays of many */
    struct buf text[SOURCE_KEY_MAX];
    const char *list[SOURCE_KEY_MAX];
};

/* The parts of one key; an array for each column. p: to be freed in any case. */
bool source_one_key(struct source_parameters *p, const struct source_key *k, const char *key,
                    struct err *e);
bool source_many_keys(struct source_parameters *p, const struct source_key *k,
                      const char *const *keys, size_t n, struct err *e);
/* bears a zeroed one */
void source_parameters_free(struct source_parameters *p, const struct source_key *k);

/* ---- asking, and keys from results ---- */

/* Runs sql, which is freed. label: the table's, for the message. */
bool source_query(struct pg *pg, const char *label, struct buf *sql, int n,
                  const char *const *params, PGresult **out, struct err *e);
/* The columns at first, first + 1, ... of a row, or those that `columns` names, as a key: borrowed
 * until text changes. NULL: a part of it is NULL, or there is no memory (text->failed). */
const char *source_join_key(const PGresult *res, int row, const int *columns, int first, size_t n,
                            struct buf *text);
/* All rows of a result whose columns are a key. A key with a NULL in it is none. */
bool source_take_list(struct pg *pg, PGresult **res, size_t n, struct keylist *out, struct err *e);
