/* row: converts a result row to Lua values, or directly to JSON text, by the types of its columns.
 *
 * Uses     Lua, libpq, pg (types), lua_values, row_value, json, suggest.
 * Promise  values are exact: none is rounded, and no key is invented. A new type is one more entry
 *          in the table in row_value.c.
 */
#pragma once
#include "pg/pg.h"

#include <lua.h>

/* The error of reading an unknown column begins with this: "the query has no column 'titel', did
 * you mean 'title'?" */
#define ROW_NO_COLUMN "the query has no column"

/* Pushes a list of the columns' names for row_push; one list serves all rows. Raises only if memory
 * is short. */
void row_push_names(lua_State *L, const struct pg_columns *columns);
/* Pushes row n (from 0) of res as a table by column name. SQL NULL is nil. Reading a name that is
 * neither a column's name nor a field that the script has set raises an error. names is the stack
 * index of the list from row_push_names. columns must describe res: see pg_columns_fit. Raises if
 * memory is short, or if a value does not have the form of its type. */
void row_push(lua_State *L, const struct pg_columns *columns, int names, const PGresult *res,
              int n);

/* Pushes the value that row_push gives a column with this text of len bytes. Raises as row_push
 * does. */
void row_push_value(lua_State *L, const struct pg_column *column, const char *text, size_t len);

/* Turns a row at index into a plain table, so that a script may set its metatable. Any other value
 * is unchanged. */
void row_make_plain(lua_State *L, int index);

/* Appends a column's text to out as JSON, without Lua: the bytes are those of row_push followed by
 * lua_json_encode. scratch is working memory of the caller, reused from row to row. False: the
 * caller must cut off what was appended, and call row_push_value, which gives the value or raises
 * (bytes, NaN, damaged text, no memory). */
bool row_add_json(struct buf *out, const struct pg_column *column, const char *text, size_t len,
                  struct buf *scratch);
