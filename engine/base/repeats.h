/* repeats: whether a key is among the last ten thousand or so. A query whose join lacks a GROUP BY
 * repeats keys.
 *
 * Uses     nothing.
 * Threads  one at a time for each struct.
 * Promise  a key costs one access to one cache line; 512 KB at most. Of many keys it forgets some,
 *          and so may miss a repeat; it reports a false one once in 2^64 keys.
 *
 *     struct repeats r = {0};
 *     repeats_begin(&r);                        // forgets earlier keys
 *     if (repeats_add(&r, key, len)) ...        // it was added since then
 *     repeats_free(&r);
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct repeats {     /* safe to use zeroed */
    uint64_t *slots; /* owned; hashes of keys; NULL: no memory, so no key is ever a repeat */
    uint64_t salt;   /* of the hashes; each repeats_begin changes it, so older ones never match */
};

void repeats_begin(struct repeats *r);
/* True: the key is a repeat. */
bool repeats_add(struct repeats *r, const char *key, size_t len);
void repeats_free(struct repeats *r); /* safe on a zeroed struct; leaves one */
