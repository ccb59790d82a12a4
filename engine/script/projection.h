/* projection: what a document() does that only puts columns into fields, read from its code, and
 * done without Lua.
 *
 * Uses     Lua (lua_dump), row, encode (the order of fields), json, buf.
 * Threads  one, that of its script.
 * Promise  the bytes are those that the call and encode would give. It knows the few instructions
 *          that such a function is made of; one other (a call, a condition, a global) and there is
 *          no projection. What a row has that is not plain (bytes, NaN) is left to the function,
 *          errors too. But what the document does not hold is not looked at, and there is no limit
 *          of Lua's memory: a row that is too large for a call may become a document.
 *
 * Most of a row's way through Lua is making strings and tables that are garbage as soon as they are
 * encoded. Without them a document takes a third of the instructions.
 */
#pragma once
#include "base/buf.h"
#include "pg/pg.h"

#include <lua.h>

struct projection;

/* Of the function at index. NULL: it does more than that, or there is no memory. Never raises. */
struct projection *projection_new(lua_State *L, int index);
void projection_free(struct projection *p); /* NULL is fine */

/* What the function at index may return, by the `return`s in it; values where its code cannot be
 * read. Never raises. */
enum projection_returns {
    RETURNS_NOTHING,
    RETURNS_CALLS /* what other functions return */,
    RETURNS_VALUES
};
enum projection_returns projection_returns(lua_State *L, int index);

/* Adds the document of row n of res. columns: those of res, and the same ones for as long as their
 * address is. False, with nothing added: the function has to be called. out->failed is for the
 * caller to ask. */
bool projection_add(struct projection *p, const struct pg_columns *columns, const PGresult *res,
                    int n, struct buf *out);
