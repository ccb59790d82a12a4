#include "projection.h"

#include "json.h"
#include "row.h"

#include <stdint.h>
#include <stdlib.h>

enum {
    CODE_MAX = 1 << 20,    /* bytes of the function's code */
    TEXT_MAX = 1 << 20,    /* of the document's names and constants */
    VALUE_MAX = 256 << 20, /* of one array's element */
    REGISTERS = 256,       /* as many as Lua has */
    TABLES = 32,
    FIELDS = 512, /* that the function sets */
    STEPS = 1 << 12,
};

struct name {
    const char *text;
    size_t len;
};

/* What a register or a field holds. */
struct content {
    enum { NIL, COLUMN, CONSTANT, TABLE } type;
    struct name text; /* a column's name, a constant's JSON */
    int table;
};

struct field {
    int table;
    struct name name;
    struct content content;
};

struct table {
    bool is_row; /* all columns are in it, but for those that were set */
    bool held;   /* by another table: it is not to change any more, so that none can hold itself */
};

/* What is written of a document, one after the other. */
struct step {
    enum { BEGIN, END, PUT_COLUMN, PUT_TEXT } type;
    size_t key, key_len; /* with quotes and colon: where it lies in keys */
    struct name text;
    int column;
};

struct projection {
    struct buf code, constants; /* what names and constants lie in */
    struct table tables[TABLES];
    struct field fields[FIELDS];
    int n_tables, n_fields;
    int document; /* the table that is returned */

    const struct pg_columns *columns; /* those that the steps are for; borrowed */
    struct step *steps;               /* owned */
    size_t n, cap;
    struct buf keys; /* of the steps */
    struct buf scratch;
    bool usable; /* for these columns */
};

/* ---- reading what lua_dump writes (5.4) ---- */

struct reader {
    const unsigned char *p, *end;
    bool failed;
};

static struct name take(struct reader *r, size_t len)
{
    struct name none = {"", 0}, taken = {(const char *)r->p, len};
    if (r->failed || len > (size_t)(r->end - r->p)) {
        r->failed = true;
        return none;
    }
    r->p += len;
    return taken;
}

static int take_byte(struct reader *r)
{
    struct name byte = take(r, 1);
    return byte.len ? (unsigned char)*byte.text : 0;
}

/* Seven bits a byte, the last byte marked. */
static size_t take_size(struct reader *r)
{
    size_t n = 0;
    int byte = 0;
    while (!r->failed && !(byte & 0x80)) {
        byte = take_byte(r);
        n = n << 7 | (size_t)(byte & 0x7f);
    }
    return n;
}

static struct name take_string(struct reader *r)
{
    size_t size = take_size(r);
    return take(r, size > 0 ? size - 1 : 0);
}

static bool take_same(struct reader *r, const void *expected, size_t len)
{
    struct name taken = take(r, len);
    return taken.len == len && memcmp(taken.text, expected, len) == 0;
}

static bool take_header(struct reader *r)
{
    int64_t integer = 0x5678;
    double number = 370.5;
    bool known = take_same(r, LUA_SIGNATURE "\x54\0\x19\x93\r\n\x1a\n\4\x8\x8", 15) &&
                 take_same(r, &integer, sizeof integer) && take_same(r, &number, sizeof number);
    take_byte(r); /* how many upvalues */
    return known;
}

/* A constant of the function: as JSON, and, for a short string, as a name. */
struct constant {
    struct content content;
    struct name name;
    bool is_name;
};

static bool take_constant(struct reader *r, struct buf *json, struct constant *out)
{
    enum { NIL_CONSTANT = 0, FALSE = 1, TRUE = 17, INTEGER = 3, NUMBER = 19, SHORT = 4, LONG = 20 };
    int type = take_byte(r);
    int64_t integer = 0;
    double number = 0;
    size_t before = json->len;
    bool ok = true;
    if (type == SHORT || type == LONG) {
        out->name = take_string(r);
        out->is_name = type == SHORT;
        ok = json_add_string(json, out->name.text, out->name.len);
    } else if (type == INTEGER) {
        struct name bytes = take(r, sizeof integer);
        memcpy(&integer, bytes.text, bytes.len);
        json_add_int(json, integer);
    } else if (type == NUMBER) {
        struct name bytes = take(r, sizeof number);
        memcpy(&number, bytes.text, bytes.len);
        ok = json_add_double(json, number);
    } else if (type == TRUE || type == FALSE) {
        buf_adds(json, type == TRUE ? "true" : "false");
    } else if (type != NIL_CONSTANT) {
        return false;
    }
    out->content.type = type == NIL_CONSTANT ? NIL : CONSTANT;
    out->content.text = (struct name){NULL, json->len - before}; /* its place is known once all are there */
    return ok && !r->failed && !json->failed;
}

struct function {
    int parameters;
    struct name code; /* 4 bytes an instruction */
    struct constant *constants;
    size_t n;
};

static bool take_constants(struct reader *r, struct buf *json, struct function *f)
{
    size_t count = take_size(r);
    if (r->failed || count > (size_t)(r->end - r->p)) /* each has a byte, at least */
        return false;
    f->constants = calloc(count + 1, sizeof *f->constants);
    if (!f->constants)
        return false;
    for (; f->n < count; f->n++)
        if (!take_constant(r, json, &f->constants[f->n]))
            return false;
    const char *text = json->data;
    for (size_t i = 0; i < count; i++) {
        f->constants[i].content.text.text = text;
        text += f->constants[i].content.text.len;
    }
    return true;
}

static bool take_function(struct reader *r, struct buf *json, struct function *f)
{
    enum { INSTRUCTION = 4 };
    take_string(r); /* the source's name, and its lines */
    take_size(r);
    take_size(r);
    f->parameters = take_byte(r);
    bool variable = take_byte(r) != 0;
    take_byte(r); /* how many registers */
    size_t count = take_size(r);
    if (r->failed || variable || f->parameters < 1 || count > (size_t)(r->end - r->p) / INSTRUCTION)
        return false;
    f->code = take(r, count * INSTRUCTION);
    return take_constants(r, json, f);
}

/* ---- following the code, with columns' names in place of values ---- */

static bool same(struct name a, struct name b)
{
    return a.len == b.len && memcmp(a.text, b.text, a.len) == 0;
}

static int new_table(struct projection *p, bool is_row)
{
    if (p->n_tables == TABLES)
        return -1;
    p->tables[p->n_tables] = (struct table){.is_row = is_row};
    return p->n_tables++;
}

static struct field *find_field(struct projection *p, int table, struct name name)
{
    for (int i = 0; i < p->n_fields; i++)
        if (p->fields[i].table == table && same(p->fields[i].name, name))
            return &p->fields[i];
    return NULL;
}

static bool get_field(struct projection *p, const struct content *from, struct name name, struct content *to)
{
    if (from->type != TABLE)
        return false;
    const struct field *field = find_field(p, from->table, name);
    struct content content = {p->tables[from->table].is_row ? COLUMN : NIL, name, 0};
    *to = field ? field->content : content;
    return true;
}

static bool set_field(struct projection *p, const struct content *table, struct name name,
                      const struct content *content)
{
    if (table->type != TABLE || p->tables[table->table].held)
        return false;
    if (content->type == TABLE) {
        if (content->table == table->table)
            return false;
        p->tables[content->table].held = true;
    }
    struct field *field = find_field(p, table->table, name);
    if (!field && p->n_fields == FIELDS)
        return false;
    field = field ? field : &p->fields[p->n_fields++];
    *field = (struct field){table->table, name, *content};
    return true;
}

/* Lua's numbers of them. */
enum {
    MOVE = 0,
    LOADK = 3,
    LOADNIL = 8,
    GETFIELD = 14,
    SETFIELD = 18,
    NEWTABLE = 19,
    RETURN1 = 72,
};

/* One instruction. False: it is none of those. */
static bool follow_one(struct projection *p, const struct function *f, uint32_t code, struct content *r)
{
    size_t a = code >> 7 & 0xff, b = code >> 16 & 0xff, c = code >> 24, k = code >> 15;
    switch (code & 0x7f) {
    case MOVE:
        r[a] = r[b];
        return true;
    case LOADK:
        if (k >= f->n)
            return false;
        r[a] = f->constants[k].content;
        return true;
    case LOADNIL:
        for (size_t i = a; i <= a + b && i < REGISTERS; i++)
            r[i] = (struct content){.type = NIL};
        return true;
    case GETFIELD:
        return c < f->n && f->constants[c].is_name && get_field(p, &r[b], f->constants[c].name, &r[a]);
    case SETFIELD:
        if (b >= f->n || !f->constants[b].is_name || ((k & 1) && c >= f->n))
            return false;
        return set_field(p, &r[a], f->constants[b].name, k & 1 ? &f->constants[c].content : &r[c]);
    case NEWTABLE:
        r[a] = (struct content){.type = TABLE, .table = new_table(p, false)};
        return r[a].table >= 0;
    default:
        return false;
    }
}

static bool follow(struct projection *p, const struct function *f)
{
    struct content registers[REGISTERS] = {0};
    registers[0] = (struct content){.type = TABLE, .table = new_table(p, true)};
    for (size_t at = 0; at + 4 <= f->code.len; at += 4) {
        uint32_t code;
        memcpy(&code, f->code.text + at, sizeof code);
        if ((code & 0x7f) == RETURN1) {
            const struct content *returned = &registers[code >> 7 & 0xff];
            p->document = returned->table;
            return returned->type == TABLE;
        }
        if (!follow_one(p, f, code, registers))
            return false;
        if ((code & 0x7f) == NEWTABLE)
            at += 4; /* its second word */
    }
    return false;
}

static int write_code(lua_State *L, const void *data, size_t len, void *code)
{
    (void)L;
    return buf_add(code, data, len) ? 0 : 1;
}

static bool read_code(struct projection *p, lua_State *L, int index)
{
    lua_pushvalue(L, index);
    bool dumped = lua_isfunction(L, -1) && lua_dump(L, write_code, &p->code, 1) == 0;
    lua_pop(L, 1);
    if (!dumped || p->code.failed)
        return false;
    struct reader r = {(const unsigned char *)p->code.data, (const unsigned char *)p->code.data + p->code.len,
                       false};
    struct function f = {0};
    bool ok = take_header(&r) && take_function(&r, &p->constants, &f) && follow(p, &f);
    free(f.constants);
    return ok;
}

struct projection *projection_new(lua_State *L, int index)
{
    struct projection *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    buf_init(&p->code, CODE_MAX);
    buf_init(&p->constants, TEXT_MAX);
    buf_init(&p->keys, TEXT_MAX);
    buf_init(&p->scratch, VALUE_MAX);
    if (read_code(p, L, index))
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
    size_t len = a->name.len < b->name.len ? a->name.len : b->name.len;
    int order = memcmp(a->name.text, b->name.text, len);
    return order ? order : (a->name.len > b->name.len) - (a->name.len < b->name.len);
}

/* The table's fields, by name. How many; fields has room for all. */
static size_t collect(struct projection *p, int table, struct field *fields)
{
    size_t n = 0;
    for (int i = 0; i < p->n_fields; i++)
        if (p->fields[i].table == table)
            fields[n++] = p->fields[i];
    for (size_t i = 0; p->tables[table].is_row && i < p->columns->n; i++) {
        const char *name = p->columns->list[i].name;
        struct name column = {name, strlen(name)};
        if (!find_field(p, table, column))
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
        struct name name = content->text;
        step.type = PUT_COLUMN;
        for (step.column = (int)p->columns->n; step.column > 0; step.column--)
            if (same(name, (struct name){p->columns->list[step.column - 1].name,
                                         strlen(p->columns->list[step.column - 1].name)}))
                break;
        step.column--;
    }
    if (content->type == NIL || (content->type == COLUMN && step.column < 0))
        return true;
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
        for (size_t j = 0; j < i; j++)
            if (strcmp(columns->list[i].name, columns->list[j].name) == 0)
                return true;
    return false;
}

static void bind(struct projection *p, const struct pg_columns *columns)
{
    p->columns = columns;
    p->n = 0;
    buf_clear(&p->keys);
    p->usable = !has_doubles(columns) && add_table(p, (struct step){0}, p->document) && !p->keys.failed;
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
            bool list = first[depth] && depth > 1; /* a table without fields; but not the document */
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
        buf_add(out, p->keys.data + step->key, step->key_len);
        if (step->type == BEGIN) {
            buf_addc(out, '{');
            first[++depth] = true;
        } else if (step->type == PUT_TEXT) {
            buf_add(out, step->text.text, step->text.len);
        } else if (!row_add_json(out, &p->columns->list[column], PQgetvalue(res, row, column), (size_t)len,
                                 &p->scratch)) {
            return false;
        }
    }
    return true;
}

bool projection_add(struct projection *p, const struct pg_columns *columns, const PGresult *res, int n,
                    struct buf *out)
{
    size_t before = out->len;
    if (p->columns != columns)
        bind(p, columns);
    if (p->usable && add_document(p, res, n, out))
        return true;
    buf_cut(out, before);
    return false;
}
