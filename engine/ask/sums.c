#include "ask/sums.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1 << 16 };

struct sums {
    uint64_t of[BUCKETS];
};

struct sums *sums_new(void)
{
    return calloc(1, sizeof(struct sums));
}

void sums_free(struct sums *s)
{
    free(s);
}

void sums_clear(struct sums *s)
{
    memset(s, 0, sizeof *s);
}

/* FNV-1a, whose bits are then mixed, since a sum of them has to be as good as random. */
uint64_t sums_hash(const char *text, size_t len)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9;
    h = (h ^ h >> 27) * 0x94d049bb133111eb;
    return h ^ h >> 31;
}

static size_t bucket(uint64_t hash)
{
    return hash % BUCKETS;
}

void sums_add(struct sums *s, uint64_t hash)
{
    s->of[bucket(hash)] += hash;
}

bool sums_differ(const struct sums *a, const struct sums *b, uint64_t hash)
{
    return a->of[bucket(hash)] != b->of[bucket(hash)];
}

bool sums_differ_at_all(const struct sums *a, const struct sums *b)
{
    return memcmp(a->of, b->of, sizeof a->of) != 0;
}
