/* source_internal: what the files of the module source share; included in this wing only.
 *
 *     source.c           opens the tables and the query, checks the query, closes them
 *     source_table.c     a table, its key and its cursor, looked up in the catalog
 *     source_affected.c  a related table's `affects`: checked, converted, asked
 *     source_check.c     warnings about what is allowed but seldom meant
 *     source_explain.c   how the server would read rows without reading whole tables
 *     source_fetch.c     a batch's rows
 *     source_keys.c      keys of the root table: chunks, walks, keys without a row
 *     source_cursor.c    a table's cursor: values, an index for it, rows it does not show
 *     source_trace.c     the rows that lead to a key
 *     source_report.c    the open transactions and the clock of the server
 *     source_page.c      pages of changed rows, and their positions
 *     source_capture.c, source_publication.c, source_slot.c
 *                        capture from the log: tables, publication, slot (source_capture.h)
 *     source_sql.c       statements, their parameters, keys in results
 */
#pragma once
#include "script/pipeline.h"
#include "source/source.h"

enum { SOURCE_SQL_MAX = 64 << 20 }; /* bytes: a statement, or one parameter of it */

/* The oids of types, which PostgreSQL never changes. */
enum {
    SOURCE_INT8 = 20,
    SOURCE_INT2 = 21,
    SOURCE_INT4 = 23,
    SOURCE_TEXT = 25,
    SOURCE_BPCHAR = 1042,
    SOURCE_VARCHAR = 1043,
    SOURCE_NUMERIC = 1700,
    SOURCE_UUID = 2950
};

/* ---- a table that is being opened ---- */

struct source_opening { /* all borrowed */
    const struct source *source;
    struct source_table *table;
    struct pg *pg;
    const struct pipeline_names *key;      /* as the script names them */
    char *cursor;                          /* NULL: none */
    int table_line, key_line, cursor_line; /* of the script */
};

/* Looks up the table, its key and its cursor. ERR_USAGE: the script is wrong; with file and
 * line. */
bool source_open_table(const struct source_opening *o, struct err *e);
/* Whether the table may have rows without a key; also true of any view. */
bool source_find_nullable(const struct source_opening *o, struct err *e);
/* Prepares t->affected, once the root is open. */
bool source_open_affected(const struct source_opening *o, struct err *e);
void source_table_free(struct source_table *t); /* safe on a zeroed struct */

/* Turns the server's final "no" into ERR_USAGE with file and line; other errors, such as a lost
 * connection, stay. field: of the script's source, or of source.related[n]. Returns false. */
bool source_blame(const struct source_opening *o, int line, const char *field, struct err *e);
/* Adds a hint to an error about a relation: a name that differs in case, or in its schema. */
void source_hint_relation(struct pg *pg, struct err *e);
/* The same for columns of the table. */
void source_hint_column(const struct source_opening *o, const struct pipeline_names *names,
                        struct err *e);

/* ---- building SQL ---- */

/* Takes the text of b, as the caller's own. NULL: no memory; b is free in any case. */
char *source_finish(struct buf *b, struct err *e);
/* Adds the key's columns, each with a prefix: "q.a, q.b" */
void source_add_columns(struct buf *b, const struct source_key *k, const char *prefix);
/* Adds a key's parameters: "$3::uuid, $4::text" */
void source_add_parameters(struct buf *b, const struct source_key *k, int first);
/* Adds the condition "(q.a, q.b) > ($1::uuid, $2::text)" */
void source_add_comparison(struct buf *b, const struct source_key *k, const char *prefix,
                           const char *operator, int first);
/* Adds the condition "q.a = ANY($1::uuid[])", or for a composite key "q.a = ANY($1::uuid[]) AND q.b
 * = ANY($2::text[]) AND (q.a, q.b) IN (SELECT * FROM unnest($1::uuid[], $2::text[]))": parameters
 * $1 and so on are arrays of the key's columns. */
void source_add_choice(struct buf *b, const struct source_key *k, const char *prefix);

/* ---- statements ---- */

enum { SOURCE_PARAMETERS_MAX = 6 * SOURCE_KEY_MAX, SOURCE_ANY_ROWS = -1 };

/* A statement, built piece by piece: its SQL, and the parameters bound so far. */
struct source_statement {
    struct buf sql;
    char *parameters[SOURCE_PARAMETERS_MAX]; /* owned */
    Oid types[SOURCE_PARAMETERS_MAX];        /* 0: the server infers it */
    int n;
    int rows;       /* that it returns; SOURCE_ANY_ROWS: any number */
    size_t columns; /* that it returns */
};
void source_statement_init(struct source_statement *st, int rows, size_t columns);
void source_statement_free(struct source_statement *st);
/* Adds a parameter, a copy of value; the first one is $1. No memory: st->sql has failed. */
void source_bind(struct source_statement *st, const char *value);
/* The same, with the value itself: taken. NULL: there was no memory for it. */
void source_bind_taken(struct source_statement *st, char *value);
/* Adds a key's parts as parameters. False: e says why, and the statement is freed. */
bool source_bind_key(struct source_statement *st, const struct source_key *k, const char *key,
                     struct err *e);
/* Adds the parts of n keys as parameters: an array for each column. False: likewise. */
bool source_bind_keys(struct source_statement *st, const struct source_key *k,
                      const char *const *keys, size_t n, struct err *e);

/* The statement as pg runs it, in *out: borrowed until st changes. False: no memory. */
bool source_statement(struct source_statement *st, struct pg_statement *out, struct err *e);
/* Runs a statement, which is freed, also on failure. *out: owned by the caller. */
bool source_run(struct pg *pg, struct source_statement *st, PGresult **out, struct err *e);
/* The same; a failure says "could not read 'TABLE'". */
bool source_read(const struct source_reader *r, struct source_statement *st, PGresult **out,
                 struct err *e);
/* The same, for a statement that returns a single boolean. */
bool source_read_bool(const struct source_reader *r, struct source_statement *st, bool *out,
                      struct err *e);
/* The statement and the report before it, in one round trip. sessions: name the open
 * transactions. */
bool source_read_with_report(const struct source_reader *r, struct source_statement *st,
                             bool sessions, struct source_report *report, PGresult **out,
                             struct err *e);

/* ---- capture from the log ---- */

/* What the log has of a table's rows. */
struct source_identity {
    bool plain;          /* an ordinary table, or partitions of that kind */
    bool early;          /* a partitioned table, on a server that does not publish these yet */
    bool stored;         /* the publication must have stored generated columns, too */
    char lacking[200];   /* SQL: a table that would refuse UPDATE and DELETE if it were published */
    char refusing[200];  /* the same, as it has virtual columns, and logs the whole row */
    char virtual[200];   /* SQL: a table that may not log the whole row, as it has such columns */
    char hidden[400];    /* columns, quoted, whose old values are not in the log; empty: none */
    char hiding[200];    /* SQL: the table, or a partition of it, that hides one of them */
    char generated[400]; /* columns, quoted, that are not in the log at all; empty: none */
};
bool source_read_identity(const struct source_reader *r, const struct pipeline_names *columns,
                          struct source_identity *out, struct err *e);
/* The columns whose values tell which documents a change concerns. */
const struct pipeline_names *source_telling_columns(const struct source *s, size_t table);
bool source_is_publishable(const struct source_identity *id);

/* Runs a statement without parameters that returns one row. *out: owned by the caller. */
bool source_ask_row(struct pg *pg, const char *sql, size_t columns, PGresult **out, struct err *e);

/* ---- keys in results ---- */

/* The first n columns of a row as a key, in `text`: borrowed until text changes. NULL: a part is
 * NULL, or there is no memory (text->failed). */
const char *source_row_key(const PGresult *res, int row, size_t n, struct buf *text);
/* Adds each row, whose n columns are a key, and clears the result; rows with a NULL are left
 * out. */
bool source_take_keys(PGresult *res, size_t n, struct keylist *out, struct err *e);
