/* text: C strings that somebody owns.
 *
 * Uses     nothing.
 * Threads  any, each with strings of its own.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Replaces *to (owned) with a copy of `from`, or with NULL where `from` is NULL. False: no memory,
 * and *to is NULL. */
bool text_set(char **to, const char *from);

/* Copies len bytes of `from`, or as many as there is room for in to[size], but no part of a
 * character; ends it with a zero byte. */
void text_cut(char *to, size_t size, const char *from, size_t len);

/* Its length without the full stop or the semicolon, and the spaces, that end it: for a text that a
 * message goes on after. An ellipsis stays. */
size_t text_open_end(const char *text, size_t len);

/* Whether both are the same text, or both are NULL. */
bool text_same(const char *a, const char *b);
