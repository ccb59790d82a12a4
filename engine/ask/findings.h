/* findings: what a comparison has found: counted by kind, by reason and by field, with the first
 * ones as examples.
 *
 * Uses     compare, explain, json, buf, err.
 * Threads  one at a time; each worker has findings of its own, which are then moved into one.
 * Promise  memory does not grow with what is found: fields beyond FINDINGS_FIELDS are counted
 *          together, examples and their values are cut.
 */
#pragma once
#include "ask/explain.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct err;

enum { FINDINGS_FIELDS = 200, FINDINGS_LINES = 12 };

struct finding_field {
    char *name; /* owned */
    uint64_t documents;
    uint64_t last; /* the last document that was counted */
};

struct finding_line {
    char *path, *before, *after; /* owned; JSON; NULL: it is not in that document */
};

struct finding {
    enum explain_kind kind;
    enum explain_reason reason;
    char *key;            /* owned */
    char *text;           /* owned; why the document cannot be made; or NULL */
    int64_t held_version; /* 0: the index has none */
    struct finding_line lines[FINDINGS_LINES];
    size_t n_lines, more; /* lines; differences beyond them */
};

struct findings { /* a zeroed one is empty */
    uint64_t kinds[EXPLAIN_KINDS], reasons[EXPLAIN_REASONS];
    struct finding_field *fields; /* owned */
    size_t n_fields, fields_cap;
    uint64_t other_fields;    /* documents in which others differ */
    struct finding *examples; /* owned */
    size_t n_examples, max_examples;
};

/* max_examples: how many findings are kept as examples. */
void findings_init(struct findings *f, size_t max_examples);
void findings_free(struct findings *f); /* leaves an empty one, for as many examples */

/* What a pair is, without counting it. */
bool findings_judge(const struct worker_pair *pair, enum explain_kind *kind, struct err *e);
/* Counts a pair that was judged. */
bool findings_add(struct findings *f, const struct explain *x, enum explain_kind kind,
                  const struct worker_pair *pair, struct err *e);
/* Adds all of `from`, which is then empty. False: no memory; some of it is lost. */
bool findings_move(struct findings *to, struct findings *from);

uint64_t findings_count(const struct findings *f); /* all but EXPLAIN_SAME */
uint64_t findings_checked(const struct findings *f);

/* ---- for people and programs ---- */

/* "  812 imdb_rating", and so on: the fields, the most frequent one first. */
void findings_print_fields(struct findings *f, FILE *out);
void findings_print_reasons(const struct findings *f, const struct explain *x, FILE *out);
/* The examples, each field of which the index has "- ", and the script makes "+ ". x NULL: without
 * the reasons. */
void findings_print_examples(const struct findings *f, const struct explain *x, bool color,
                             FILE *out);
/* The first example's fields alone. */
void findings_print_lines(const struct findings *f, bool color, FILE *out);
/* Whether standard output is a terminal that wants colour. */
bool findings_want_color(void);
/* Any text as a JSON string; bytes that are not UTF-8 become "?". */
void findings_print_string(const char *text, FILE *out);
/* Any text, with "?" for what could command a terminal. */
void findings_print_text(const char *text, FILE *out);
/* "missing":1,"orphaned":0,...,"fields":[...],"examples":[...]: the members of an object. */
void findings_print_json(struct findings *f, FILE *out);
