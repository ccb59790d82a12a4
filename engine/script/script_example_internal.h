/* script_example_internal: what the files of the module script_example share; nobody else includes
 * it. */
#pragma once
#include "script/script_example.h"

#include <lua.h>

/* Writes the Lua value at index into the cell: its kind, and its text. path: of the value, for
 * messages ("row.actors"). Raises if no column has such a value. */
void script_example_set(lua_State *L, int index, struct script_example_cell *cell,
                        const char *path);
