/* script_lines: on which line of a script a field of its table is written, for messages.
 *
 * Uses     nothing (a small scanner of Lua's tokens; it knows comments, strings, long brackets,
 *          nesting).
 *
 * Lua does not keep this. A script that builds its table by other means than one `return { ... }`
 * gets line 0.
 */
#pragma once
#include <stddef.h>

/* path: "source.related[2].cursor". Returns the line, from 1, of the field's name (of the element's
 * beginning for an index); of the innermost table on the path that is found, where the field itself
 * isn't; 0 if nothing is. The path "" is the script's table itself. */
int script_lines_find(const char *text, size_t len, const char *path);

/* The line on which the text of a field begins that is written as one string: behind the line break
 * that Lua skips after [[. 0: it is not written so. */
int script_lines_text(const char *text, size_t len, const char *path);
