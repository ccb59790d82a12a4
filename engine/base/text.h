/* text: C strings that somebody owns.
 *
 * Uses     nothing.
 * Threads  any, each with strings of its own.
 */
#pragma once
#include <stdbool.h>

/* Replaces *to (owned) with a copy of `from`, or with NULL where `from` is NULL. False: no memory,
 * and *to is NULL. */
bool text_set(char **to, const char *from);

/* Whether both are the same text, or both are NULL. */
bool text_same(const char *a, const char *b);
