#include "base/json.h"
#include "script/projection_internal.h"

#include <stdint.h>
#include <stdlib.h>

enum { REGISTERS = 256 }; /* as many as Lua has */

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
    /* its place is known once all are there */
    out->content.text = (struct name){NULL, json->len - before};
    return ok && !r->failed && !json->failed;
}

struct function {
    int parameters;
    bool variable;    /* "..." too */
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
    const char *text = json->data ? json->data : "";
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
    f->variable = take_byte(r) != 0;
    take_byte(r); /* how many registers */
    size_t count = take_size(r);
    if (r->failed || count > (size_t)(r->end - r->p) / INSTRUCTION)
        return false;
    f->code = take(r, count * INSTRUCTION);
    return take_constants(r, json, f);
}

/* ---- following the code, with columns' names in place of values ---- */

static int new_table(struct projection *p, bool is_row)
{
    if (p->n_tables == TABLES)
        return -1;
    p->tables[p->n_tables] = (struct table){.is_row = is_row};
    return p->n_tables++;
}

struct field *projection_field(struct projection *p, int table, struct name name)
{
    for (int i = 0; i < p->n_fields; i++)
        if (p->fields[i].table == table && name_is(p->fields[i].name, name))
            return &p->fields[i];
    return NULL;
}

static bool get_field(struct projection *p, const struct content *from, struct name name,
                      struct content *to)
{
    if (from->type != TABLE)
        return false;
    const struct field *field = projection_field(p, from->table, name);
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
    struct field *field = projection_field(p, table->table, name);
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
    TAILCALL = 69,
    RETURN = 70,
    RETURN1 = 72,
};

/* One instruction. False: it is none of those. */
static bool follow_one(struct projection *p, const struct function *f, uint32_t code,
                       struct content *r)
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
        return c < f->n && f->constants[c].is_name &&
               get_field(p, &r[b], f->constants[c].name, &r[a]);
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

/* Reads the function at index: its text goes to code and constants. f->constants is the caller's to
 * free. */
static bool read_function(lua_State *L, int index, struct buf *code, struct buf *constants,
                          struct function *f)
{
    *f = (struct function){0};
    lua_pushvalue(L, index);
    bool dumped = lua_isfunction(L, -1) && lua_dump(L, write_code, code, 1) == 0;
    lua_pop(L, 1);
    if (!dumped || code->failed)
        return false;
    struct reader r = {(const unsigned char *)code->data,
                       (const unsigned char *)code->data + code->len, false};
    return take_header(&r) && take_function(&r, constants, f);
}

bool projection_read(struct projection *p, lua_State *L, int index)
{
    struct function f;
    bool ok = read_function(L, index, &p->code, &p->constants, &f) && !f.variable &&
              f.parameters > 0 && follow(p, &f);
    free(f.constants);
    return ok;
}

/* ---- returns ---- */

/* A RETURN's field B is the number of its values and one; 0: all that a call has left. Lua puts one
 * without any at the end of each function. */
static enum projection_returns returns_of(uint32_t code)
{
    uint32_t b = code >> 16 & 0xff;
    switch (code & 0x7f) {
    case TAILCALL:
        return RETURNS_CALLS;
    case RETURN1:
        return RETURNS_VALUES;
    case RETURN:
        return b == 1 ? RETURNS_NOTHING : b == 0 ? RETURNS_CALLS : RETURNS_VALUES;
    default:
        return RETURNS_NOTHING;
    }
}

enum projection_returns projection_returns(lua_State *L, int index)
{
    enum { MOST = 1 << 20 }; /* bytes */
    enum projection_returns found = RETURNS_NOTHING;
    struct buf code, constants;
    struct function f;
    buf_init(&code, MOST);
    buf_init(&constants, MOST);
    /* constants that it does not know do not matter here */
    read_function(L, index, &code, &constants, &f);
    if (f.code.len == 0)
        found = RETURNS_VALUES;
    for (size_t at = 0; at + 4 <= f.code.len; at += 4) {
        uint32_t instruction;
        memcpy(&instruction, f.code.text + at, sizeof instruction);
        enum projection_returns one = returns_of(instruction);
        found = one > found ? one : found;
    }
    free(f.constants);
    buf_free(&code);
    buf_free(&constants);
    return found;
}
