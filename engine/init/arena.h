/* arena: memory that is freed all at once: the catalog and the plan consist of many small texts and
 * structs that live until the script is written.
 *
 * Uses     buf.
 * Threads  an arena belongs to one thread.
 * Promise  errors are sticky: after an allocation has failed, the arena is `failed`. Texts are then
 *          "", never NULL, so that one check at the end is enough for them.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct arena_block;

struct arena {                  /* safe to zero: an empty arena */
    struct arena_block *blocks; /* owned */
    bool failed;
};

void arena_free(struct arena *a); /* safe on a zeroed struct */

/* n elements of `size` bytes, all zero. NULL: no memory. */
void *arena_new(struct arena *a, size_t n, size_t size);
/* A copy of the text; of NULL: NULL. */
const char *arena_copy(struct arena *a, const char *text);
const char *arena_textf(struct arena *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
