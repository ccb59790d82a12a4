/* script_lines: the line of a script on which a field of its table is written, for messages.
 *
 * Uses     lua_tokens.
 *
 * Why it exists: Lua does not keep the lines of a table's fields, and "unknown field 'curser'"
 * without a line costs the reader a search.
 * To switch it off: return 0 from each function; messages then name the file alone. A script that
 * builds its table by other means than one `return { ... }` gets 0 already.
 * With Lua 5.5: new syntax is scanned as names and symbols; at worst a message has no line, or that
 * of the table around the field.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* path: "source.related[2].cursor", "document[\"a name\"]". Returns the line, from 1,
 * of the field's name (for an index, of the element's beginning). If the field is not found, the
 * line of the innermost table on the path that is; 0 if none is. "" is the script's own table. */
int script_lines_find(const char *text, size_t len, const char *path);

/* The line on which the text of a field begins, if it is written as one string: after the line
 * break that Lua skips after [[. Otherwise 0. */
int script_lines_text(const char *text, size_t len, const char *path);

/* Whether the field itself is written in the script. */
bool script_lines_has(const char *text, size_t len, const char *path);
