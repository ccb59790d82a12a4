#include "base/json.h"
#include "lua/lua_json.h"
#include "lua/row.h"
#include "script/projection_internal.h"

#include <stdlib.h>

enum {
    CODE_MAX = 1 << 20,    /* bytes of the function's code */
    TEXT_MAX = 1 << 20,    /* of the document's names, and of its constants */
    VALUE_MAX = 256 << 20, /* of one array's element */
    STEPS = 1 << 12,
};

/* What is written of a document, one after the other. */
struct step {
    enum { BEGIN, END, PUT_COLUMN, PUT_TEXT } type;
    size_t key, key_len; /* with quotes and colon: where it lies in keys */
    struct name text;
    int column;
};

struct projection *projection_new(lua_State *L, int index)
{
    struct projection *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    buf_init(&p->code, CODE_MAX);
    buf_init(&p->constants, TEXT_MAX);
    buf_init(&p->keys, TEXT_MAX);
    buf_init(&p->scratch, VALUE_MAX);
    if (projection_read(p, L, index))
        return p;
    projection_free(p);
    return NULL;
}

void projection_free(struct projection *p)
{
    if (!p)
        return;
    buf_free(&p->code);
    buf_free(&p->constants);
    buf_free(&p->keys);
    buf_free(&p->scratch);
    free(p->steps);
    free(p);
}

/* ---- the steps, for the columns that the query has ---- */

static bool add_step(struct projection *p, const struct step *step)
{
    if (p->n == STEPS) /* one table can be in many */
        return false;
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 32;
        struct step *steps = realloc(p->steps, cap * sizeof *steps);
        if (!steps)
            return false;
        p->steps = steps;
        p->cap = cap;
    }
    p->steps[p->n++] = *step;
    return true;
}

static int compare_fields(const void *left, const void *right)
{
    const struct field *a = left, *b = right;
    return lua_json_order(a->name.text, a->name.len, b->name.text, b->name.len);
}

static struct name column_name(const struct pg_columns *columns, size_t i)
{
    const char *name = columns->list[i].name;
    return (struct name){name, strlen(name)};
}

/* Its index, or -1. (A name of a function may hold zero bytes, so that pg_column cannot tell.) */
static int find_column(const struct pg_columns *columns, struct name name)
{
    for (size_t i = 0; i < columns->n; i++)
        if (name_is(name, column_name(columns, i)))
            return (int)i;
    return -1;
}

/* The table's fields, by name. How many; fields has room for all. */
static size_t collect(struct projection *p, int table, struct field *fields)
{
    size_t n = 0;
    for (int i = 0; i < p->n_fields; i++)
        if (p->fields[i].table == table)
            fields[n++] = p->fields[i];
    for (size_t i = 0; p->tables[table].is_row && i < p->columns->n; i++) {
        struct name column = column_name(p->columns, i);
        if (!projection_field(p, table, column))
            fields[n++] = (struct field){table, column, {COLUMN, column, 0}};
    }
    qsort(fields, n, sizeof *fields, compare_fields);
    return n;
}

static bool add_table(struct projection *p, struct step begin, int table);

static bool add_field(struct projection *p, const struct field *field)
{
    const struct content *content = &field->content;
    struct step step = {.type = PUT_TEXT, .text = content->text};
    if (content->type == COLUMN) {
        step.type = PUT_COLUMN;
        step.column = find_column(p->columns, content->text);
    }
    if (content->type == NIL)
        return true;
    if (content->type == COLUMN &&
        (step.column < 0 || p->columns->list[step.column].kind == PG_BYTEA))
        /* the function has to say that there is no such column; and bytes: else each row would be
         * tried in vain */
        return false;
    step.key = p->keys.len;
    if (!json_add_string(&p->keys, field->name.text, field->name.len) || !buf_addc(&p->keys, ':'))
        return false;
    step.key_len = p->keys.len - step.key;
    return content->type == TABLE ? add_table(p, step, content->table) : add_step(p, &step);
}

static bool add_table(struct projection *p, struct step begin, int table)
{
    begin.type = BEGIN;
    struct field *fields = calloc((size_t)p->n_fields + p->columns->n + 1, sizeof *fields);
    size_t n = fields ? collect(p, table, fields) : 0;
    bool ok = fields && add_step(p, &begin);
    for (size_t i = 0; ok && i < n; i++)
        ok = add_field(p, &fields[i]);
    free(fields);
    return ok && add_step(p, &(struct step){.type = END});
}

/* Of columns of the same name Lua keeps the last one that is not NULL. */
static bool has_doubles(const struct pg_columns *columns)
{
    for (size_t i = 0; i < columns->n; i++)
        if (pg_column(columns, columns->list[i].name) != (int)i)
            return true;
    return false;
}

static void bind(struct projection *p, const struct pg_columns *columns)
{
    p->columns = columns;
    p->n = 0;
    buf_clear(&p->keys);
    p->usable =
        !has_doubles(columns) && add_table(p, (struct step){0}, p->document) && !p->keys.failed;
}

/* ---- documents ---- */

static bool add_document(struct projection *p, const PGresult *res, int row, struct buf *out)
{
    bool first[TABLES + 1];
    int depth = 0;
    first[0] = true;
    for (const struct step *step = p->steps, *end = step + p->n; step < end; step++) {
        int column = step->column, len = 0;
        if (step->type == END) {
            /* a table without fields; but not the document */
            bool list = first[depth] && depth > 1;
            if (list && !out->failed)
                out->data[out->len - 1] = '[';
            buf_addc(out, list ? ']' : '}');
            depth--;
            continue;
        }
        if (step->type == PUT_COLUMN && (len = PQgetlength(res, row, column)) == 0 &&
            PQgetisnull(res, row, column))
            continue;
        if (!first[depth])
            buf_addc(out, ',');
        first[depth] = false;
        if (step->key_len > 0) /* the document itself has none */
            buf_add(out, p->keys.data + step->key, step->key_len);
        if (step->type == BEGIN) {
            buf_addc(out, '{');
            first[++depth] = true;
        } else if (step->type == PUT_TEXT) {
            buf_add(out, step->text.text, step->text.len);
        } else if (!row_add_json(out, &p->columns->list[column], PQgetvalue(res, row, column),
                                 (size_t)len, &p->scratch)) {
            return false;
        }
    }
    return true;
}

bool projection_add(struct projection *p, const struct pg_columns *columns, const PGresult *res,
                    int n, struct buf *out)
{
    size_t before = out->len;
    if (p->columns != columns)
        bind(p, columns);
    if (p->usable && add_document(p, res, n, out))
        return true;
    buf_cut(out, before);
    return false;
}
