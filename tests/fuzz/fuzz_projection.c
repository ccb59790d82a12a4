/* Functions of assignments alone, in any order: what a projection writes is what the call gives. */
#include "fuzz.h"
#include "lua/lua_json.h"
#include "lua/lua_values.h"
#include "lua/row.h"
#include "script/projection.h"

#include <lauxlib.h>

enum { VARIABLES = 6, NAMES = 5, STATEMENTS = 200 };

static char *const names[NAMES] = {"id", "title", "tags", "a",
                                   "b"}; /* three columns, and two that are none */
static struct pg_column list[] = {{"id", 20, PG_INT, false, true, ',', "bigint"},
                                  {"title", 25, PG_TEXT, false, true, ',', "text"},
                                  {"tags", 1009, PG_TEXT, true, true, ',', "text[]"}};
static const struct pg_columns columns = {list, 3, 0};

static PGresult *make_row(bool full)
{
    static char *const cells[] = {"7", "A \"title\"", "{a,NULL,\"b\\\"\"}"};
    PGresAttDesc attributes[3] = {{.name = "id", .typid = 20},
                                  {.name = "title", .typid = 25},
                                  {.name = "tags", .typid = 1009}};
    PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    CLAIM(res && PQsetResultAttrs(res, 3, attributes));
    for (int i = 0; i < 3; i++)
        CLAIM(PQsetvalue(res, 0, i, cells[i], full || i == 0 ? (int)strlen(cells[i]) : -1));
    return res;
}

/* "function(v0) local v1, ... v1 = {} v1.a = v0.id return v1 end": four bytes are a statement. */
static void write_function(struct buf *b, const uint8_t *data, size_t size)
{
    static const char *const constants[] = {"nil", "true", "'text'", "1.5", "-3", "{}"};
    buf_adds(b, "return function(v0) local v1, v2, v3, v4, v5 = {}, {}, {} ");
    for (size_t at = 0; at + 4 <= size && at < (size_t)STATEMENTS * 4; at += 4) {
        int x = data[at + 1] % VARIABLES, y = data[at + 2] % VARIABLES;
        const char *name = names[data[at + 3] % NAMES], *constant = constants[data[at + 2] % 6];
        switch (data[at] % 6) {
        case 0:
            buf_addf(b, "v%d = {} ", x);
            break;
        case 1:
            buf_addf(b, "v%d = v%d ", x, y);
            break;
        case 2:
            buf_addf(b, "v%d.%s = v%d ", x, name, y);
            break;
        case 3:
            buf_addf(b, "v%d = v%d.%s ", x, y, name);
            break;
        case 4:
            buf_addf(b, "v%d.%s = %s ", x, name, constant);
            break;
        default:
            buf_addf(b, "v%d = { %s = v%d, b = v0.title, c = { v = v0.%s } } ", x, name, y, name);
        }
    }
    buf_addf(b, "return v%d end", size ? data[size - 1] % VARIABLES : 0);
}

/* On the stack: the function, the row, the buf for what it returns. */
static int call(lua_State *L)
{
    const PGresult *res = lua_touserdata(L, 2);
    row_push_names(L, &columns);
    lua_pushvalue(L, 1);
    row_push(L, &columns, 4, res, 0);
    lua_call(L, 1, 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_json_encode(L, -1, lua_touserdata(L, 3));
    return 0;
}

static void compare(lua_State *L, bool full)
{
    struct projection *p = projection_new(L, 1);
    PGresult *res = make_row(full);
    struct buf direct, called;
    buf_init(&direct, 1 << 20);
    buf_init(&called, 1 << 20);
    if (p && projection_add(p, &columns, res, 0, &direct)) {
        lua_pushcfunction(L, call);
        lua_pushvalue(L, 1);
        lua_pushlightuserdata(L, res);
        lua_pushlightuserdata(L, &called);
        /* A column that is none may be read and then forgotten: the call raises, of the first row
         * already, and script.c uses no projection before one has given what the call gives. */
        bool ok = lua_pcall(L, 3, 0, 0) == LUA_OK;
        CLAIM(ok || strstr(lua_tostring(L, -1), ROW_NO_COLUMN));
        /* of a document, script.c makes {} */
        bool empty = called.len == 2 && memcmp(called.data, "[]", 2) == 0;
        CLAIM(!ok || (direct.len == called.len &&
                      (empty || memcmp(direct.data, called.data, called.len) == 0)));
    }
    buf_free(&direct);
    buf_free(&called);
    PQclear(res);
    projection_free(p);
}

static int open_values(lua_State *L)
{
    lua_values_open(L);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = luaL_newstate();
    struct buf text;
    buf_init(&text, 1 << 20);
    write_function(&text, data, size);
    CLAIM(L && buf_cstr(&text));
    lua_pushcfunction(L, open_values);
    CLAIM(lua_pcall(L, 0, 0, 0) == LUA_OK);
    CLAIM(luaL_dostring(L, buf_cstr(&text)) == LUA_OK);
    compare(L, true);
    compare(L, false);
    lua_close(L);
    buf_free(&text);
    return 0;
}
