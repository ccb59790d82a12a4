#include "base/repeats.h"

#include <stdlib.h>
#include <string.h>

enum {
    SETS = 8192,
    WAYS = 8, /* a set is one cache line */
};

void repeats_begin(struct repeats *r)
{
    if (!r->slots)
        r->slots = calloc((size_t)SETS * WAYS, sizeof *r->slots);
    r->salt += 0x9e3779b97f4a7c15u; /* odd, so all 2^64 values come before one repeats */
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    return hash ^ hash >> 32;
}

static uint64_t hash_of(uint64_t salt, const char *key, size_t len)
{
    uint64_t hash = mix(salt, len), word;
    for (; len >= sizeof word; key += sizeof word, len -= sizeof word) {
        memcpy(&word, key, sizeof word);
        hash = mix(hash, word);
    }
    word = 0;
    memcpy(&word, key, len);
    return mix(mix(hash, word), 0);
}

bool repeats_add(struct repeats *r, const char *key, size_t len)
{
    if (!r->slots)
        return false;
    uint64_t hash = hash_of(r->salt, key, len), *set = r->slots + (hash % SETS) * WAYS;
    for (size_t i = 0; i < WAYS; i++)
        if (set[i] == hash)
            return true;
    memmove(set + 1, set, (WAYS - 1) * sizeof *set); /* drops the oldest */
    set[0] = hash;
    return false;
}

void repeats_free(struct repeats *r)
{
    free(r->slots);
    *r = (struct repeats){0};
}
