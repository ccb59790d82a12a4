#include "lua/lua_json.h"
#include "lua/row.h"
#include "script/template_internal.h"

#include <assert.h>
#include <lauxlib.h>

struct writing {
    struct template *t;
    const PGresult *res;
    int n;
    struct buf *out;
    lua_State *L;       /* NULL: without Lua */
    int functions, row; /* where the list of functions, and the row, lie on its stack */
    int depth;
    bool first[TEMPLATE_DEPTH + 1]; /* of each open table: it has no field yet */
};

/* What goes in front of a value. */
static void write_key(struct writing *w, const struct template_step *step)
{
    if (!w->first[w->depth])
        buf_addc(w->out, ',');
    w->first[w->depth] = false;
    buf_add(w->out, w->t->text.data + step->key, step->key_len);
}

static void write_begin(struct writing *w, const struct template_step *step)
{
    write_key(w, step);
    buf_addc(w->out, '{');
    w->first[++w->depth] = true;
    assert(w->depth <= TEMPLATE_DEPTH);
}

/* A table without fields is [], as lua_json_encode writes it; but not the document itself. */
static void write_end(struct writing *w)
{
    bool list = w->first[w->depth] && w->depth > 1;
    if (list && !w->out->failed)
        w->out->data[w->out->len - 1] = '[';
    buf_addc(w->out, list ? ']' : '}');
    w->depth--;
}

/* The value of a column that is not plain. Raises if JSON has none. */
static void write_odd_value(struct writing *w, const struct template_step *step,
                            const struct pg_column *column)
{
    w->t->at = step;
    row_push_value(w->L, column, PQgetvalue(w->res, w->n, step->column),
                   (size_t)PQgetlength(w->res, w->n, step->column));
    lua_json_encode_field(w->L, -1, w->out, template_text(w->t, step->path));
    lua_pop(w->L, 1);
}

static bool write_column(struct writing *w, const struct template_step *step)
{
    const struct pg_column *column = &w->t->columns->list[step->column];
    int len = PQgetlength(w->res, w->n, step->column);
    if (len == 0 && PQgetisnull(w->res, w->n, step->column))
        return true;
    write_key(w, step);
    size_t before = w->out->len;
    if (row_add_json(w->out, column, PQgetvalue(w->res, w->n, step->column), (size_t)len,
                     &w->t->scratch))
        return true;
    if (!w->L)
        return false;
    if (!w->out->failed)
        buf_cut(w->out, before);
    write_odd_value(w, step, column);
    return true;
}

static bool write_function(struct writing *w, const struct template_step *step)
{
    if (!w->L)
        return false;
    lua_rawgeti(w->L, w->functions, step->function);
    lua_pushvalue(w->L, w->row);
    w->t->at = step;
    w->t->running = true;
    lua_call(w->L, 1, 1);
    w->t->running = false;
    if (!lua_isnil(w->L, -1)) {
        write_key(w, step);
        lua_json_encode_field(w->L, -1, w->out, template_text(w->t, step->path));
    }
    lua_pop(w->L, 1);
    return true;
}

static bool write_document(struct writing *w)
{
    const struct template_step *step = w->t->steps, *end = step + w->t->n;
    w->first[0] = true;
    for (; step < end; step++) {
        bool ok = true;
        switch (step->type) {
        case STEP_BEGIN:
            write_begin(w, step);
            break;
        case STEP_END:
            write_end(w);
            break;
        case STEP_COLUMN:
            ok = write_column(w, step);
            break;
        case STEP_FUNCTION:
            ok = write_function(w, step);
            break;
        }
        if (!ok)
            return false;
    }
    assert(w->depth == 0);
    return true;
}

bool template_add(struct template *t, const PGresult *res, int n, struct buf *out)
{
    assert(t->columns);
    struct writing w = {.t = t, .res = res, .n = n, .out = out};
    return t->functions == 0 && !t->bytes && write_document(&w);
}

void template_call(struct template *t, lua_State *L, const PGresult *res, int n, struct buf *out)
{
    assert(t->columns);
    struct writing w = {.t = t, .res = res, .n = n, .out = out, .L = L};
    t->at = NULL;
    t->running = false;
    luaL_checkstack(L, 10, NULL);
    int names = lua_gettop(L);
    template_push_functions(t, L);
    w.functions = lua_gettop(L);
    if (t->functions > 0)
        row_push(L, t->columns, names, res, n);
    w.row = lua_gettop(L);
    write_document(&w);
    t->at = NULL;
}
