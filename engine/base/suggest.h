/* suggest: the known name that a misspelt one was meant to be.
 *
 * Uses     nothing.
 *
 *     const char *near = suggest("curser", names, n);   // "cursor"; NULL: none is near
 */
#pragma once
#include <stddef.h>

/* The nearest of the n names: at most two letters added, left out, changed or swapped, and at most
 * half of the word. Borrowed from names; NULL if none is. */
const char *suggest(const char *name, const char *const *names, size_t n);
