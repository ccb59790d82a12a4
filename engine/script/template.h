/* template: documents that are made of columns: a script's `document` that is a table, or left out.
 *
 * Uses     Lua, lua_json, row, json, returns, script_lines, suggest.
 * Threads  one, that of its script.
 * Promise  the bytes are those that the equivalent function of the row would give, and so are the
 *          errors. Fields that are plain columns are written without Lua; only what a row has that
 *          is not plain (bytes, NaN, a damaged value) is looked at by Lua, and has no limit of
 *          memory but that of `out`.
 *
 *     template.c        the table is read and checked, and bound to the columns of a query
 *     template_write.c  documents
 *
 * Most of a row's way through Lua is making strings and tables that are garbage as soon as they are
 * encoded. Without them a document takes a third of the instructions.
 */
#pragma once
#include "base/buf.h"
#include "pg/pg.h"

#include <lua.h>
#include <stdbool.h>

struct err;
struct script_text;
struct template;

/* An empty one. source: the script, for lines; borrowed. NULL: no memory. */
struct template *template_new(const struct script_text *source);
void template_free(struct template *t); /* NULL is fine */

/* ---- once ---- */

/* Reads the table at index; nil: every column of the query is a field of its name. Raises mistakes,
 * "FILE:LINE: ..."; the remedy, or NULL, is then template_hint. */
void template_read(struct template *t, lua_State *L, int index);
const char *template_hint(const struct template *t);
/* Describes fields and columns as a text, without functions: of equal templates it is the same.
 * Does not raise; out->failed is for the caller to ask. */
void template_describe(const struct template *t, struct buf *out);
/* Pushes a list of the functions, by the order of their fields. */
void template_push_functions(const struct template *t, lua_State *L);

/* Finds the columns of a query. False, ERR_USAGE: it lacks one: "FILE:LINE: ...". columns:
 * borrowed, until the next call; the same ones for as long as their address is. */
bool template_bind(struct template *t, const struct pg_columns *columns, struct err *e);

/* ---- documents, of a bound template: row n of res, which has those columns ---- */

/* Adds the row's document without Lua. False: that needs Lua (functions, bytes, NaN ...), or is an
 * error that template_call raises; what was added is to be cut off. out->failed is for the caller
 * to ask, here and below. */
bool template_add(struct template *t, const PGresult *res, int n, struct buf *out);
/* The same with Lua, within a protected call; the list of row_push_names lies on top of its stack.
 * Raises; template_blame then knows which field it was. */
void template_call(struct template *t, lua_State *L, const PGresult *res, int n, struct buf *out);

/* After template_call has raised: the field whose function raised ("director.name"), or NULL. If a
 * field's value is what was wrong, puts "FILE:LINE: " in front of e. */
const char *template_blame(const struct template *t, struct err *e);
