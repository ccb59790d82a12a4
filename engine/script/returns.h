/* returns: whether a function of a script may have forgotten its `return`, by its text.
 *
 * Uses     lua_tokens, script_text, Lua.
 *
 * Lua cannot tell a function that was meant to return nothing from one that forgot to. So the text
 * is read: its `return`s are counted, those of functions within it left out. Where several
 * functions share their lines, or the text cannot be had, nothing is concluded.
 */
#pragma once
#include <lua.h>

struct script_text;

enum returns {
    RETURNS_MAYBE,   /* a value in some cases; or not known */
    RETURNS_NOTHING, /* no `return` has a value */
    RETURNS_AT_END,  /* every `return` has a value, and one is the last statement: a call that gives
                        no value at all got none from the function whose result it returns */
};

/* Of the function at index. source: the script; other files are read. Never raises. */
enum returns returns_of(lua_State *L, int index, const struct script_text *source);
