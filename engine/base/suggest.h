/* suggest: the known name that a misspelt one was meant to be.
 *
 * Uses     nothing.
 * Threads  any.
 *
 *     const char *near = suggest("curser", names, n);   // "cursor"; NULL: none is near
 */
#pragma once
#include <stddef.h>

/* The nearest of the n names, with at most two letters added, missing, changed or swapped, and at
 * most half of the letters. Borrowed from names. NULL: none is near enough. */
const char *suggest(const char *name, const char *const *names, size_t n);
