/* row: a result row as Lua values, or as JSON at once: the table of types (design, section 4).
 *
 * Uses     Lua, libpq, pg (types), lua_values, row_value, json, suggest.
 * Promise  exact: no value is rounded, no key is made up. To add a type, add its row to the one
 *          table in row_value.c.
 */
#pragma once
#include "pg/pg.h"

#include <lua.h>

/* Begins the error of a read of an unknown column: "the query has no column 'titel', did you mean
 * 'title'?" */
#define ROW_NO_COLUMN "the query has no column"

/* Pushes a list of the columns' names, made once for all rows: for row_push. Raises on memory
 * alone. */
void row_push_names(lua_State *L, const struct pg_columns *columns);
/* Pushes row n of res as a table by column name; SQL NULL is nil, reading a name that is no
 * column's raises (a field that the script has set is there as in any table). names: where that
 * list lies on the stack. Raises (memory; a value that is not what its type says). columns must be
 * those of res: pg_columns_fit says so. */
void row_push(lua_State *L, const struct pg_columns *columns, int names, const PGresult *res,
              int n);

/* Pushes the value that row_push has for a column with that text. Raises likewise. */
void row_push_value(lua_State *L, const struct pg_column *column, const char *text, size_t len);

/* Makes a row at index a plain table, so that a script may give it a metatable; anything else
 * stays. */
void row_make_plain(lua_State *L, int index);

/* Adds a column's text to out as JSON, without Lua: the bytes are those of row_push and
 * lua_json_encode. False: what it added must be cut off, and row_push_value decides what the value
 * is, or raises (bytes, NaN, damaged text, no memory). scratch: working memory, reused from row to
 * row. */
bool row_add_json(struct buf *out, const struct pg_column *column, const char *text, size_t len,
                  struct buf *scratch);
