/* template_internal: what the files of the module template share; nobody else includes it. */
#pragma once
#include "script/template.h"

enum { TEMPLATE_DEPTH = 32 }; /* of tables within tables */

/* What is written of a document, one after the other: fields are sorted by name. Names lie in
 * `text`, from these places on. */
struct template_step {
    enum { STEP_BEGIN, STEP_END, STEP_COLUMN, STEP_FUNCTION } type;
    size_t key, key_len; /* the name as JSON, with its colon; the document itself has none */
    size_t path;         /* "director.name", ends with a zero byte; likewise the column's name */
    size_t column_name;
    int column;   /* of the query, if bound */
    int function; /* its place in the list of functions */
};

struct template
{
    const struct script_text *source; /* borrowed */
    struct template_step *steps;      /* owned */
    size_t n, cap;
    struct buf text, scratch;
    int functions;
    bool all;         /* every column is a field */
    bool bytes;       /* a field is of a type that template_add cannot write */
    const char *hint; /* static; for the mistake that was raised last */

    const struct pg_columns *columns; /* those that the steps are bound to; borrowed */
    const struct template_step *at;   /* template_call: the field that it is making */
    bool running;                     /* its function has not returned yet */
};

static inline const char *template_text(const struct template *t, size_t place)
{
    return t->text.data + place;
}
