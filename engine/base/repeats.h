/* repeats: whether a key came before, among the last some ten thousand: what a join without GROUP
 * BY makes.
 *
 * Uses     nothing.
 * Promise  one look at a line of memory a key, however many there are; 512 KB, at most. Of many
 *          keys it forgets some, and so may miss a repeat; it takes a key for a repeat that is none
 *          once in 2^64.
 *
 *     struct repeats r = {0};
 *     repeats_begin(&r);                        // what came before is forgotten
 *     if (repeats_add(&r, key, len)) ...        // it came since then
 *     repeats_free(&r);
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct repeats {     /* bears being zeroed */
    uint64_t *slots; /* owned; hashes of keys; NULL: no memory, so nothing is ever a repeat */
    uint64_t salt;   /* of the hashes, since repeats_begin: no older one is the same */
};

void repeats_begin(struct repeats *r);
bool repeats_add(struct repeats *r, const char *key, size_t len);
void repeats_free(struct repeats *r);
