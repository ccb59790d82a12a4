#include "base/keyset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_SLOTS = 16 };

struct entry {
    const char *value; /* stored after the key; or NULL */
    uint64_t hash;
    uint32_t generation;
    char key[];
};

/* `slots` is a hash table of indexes into `entries`, with linear probing and at most half full, so
 * `entries` has room for half as many. A walk over the set reads only `entries`, and removing an
 * entry does not move the others. */
struct keyset {
    struct entry **entries; /* in the order in which they were added; NULL: removed */
    uint32_t *slots;        /* the entry's index + 1; 0: free */
    size_t n_slots;         /* 0, or a power of two */
    size_t used;            /* length of `entries`, including removed ones */
    size_t count, bytes, max;
};

/* ---- sizes ---- */

/* The bytes that malloc uses for a block of this size. */
static size_t allocated(size_t size)
{
    return (size + 8 + 15) / 16 * 16;
}

static size_t texts_size(const char *key, const char *value)
{
    return strlen(key) + 1 + (value ? strlen(value) + 1 : 0);
}

static size_t entry_bytes(const char *key, const char *value)
{
    return allocated(sizeof(struct entry) + texts_size(key, value));
}

static size_t table_bytes(size_t n_slots)
{
    return n_slots ? allocated(n_slots / 2 * sizeof(struct entry *)) +
                         allocated(n_slots * sizeof(uint32_t))
                   : 0;
}

/* ---- the table ---- */

/* FNV-1a mixes its last bytes only into the upper half; the finaliser of MurmurHash3 brings them to
 * the lower bits, which choose the slot. */
static uint64_t hash_of(const char *key)
{
    uint64_t h = 0xcbf29ce484222325;
    for (const char *p = key; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3;
    h = (h ^ h >> 33) * 0xff51afd7ed558ccd;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53;
    return h ^ h >> 33;
}

/* The slot of the key, or the free slot where it belongs. */
static size_t find_slot(const struct keyset *s, const char *key, uint64_t hash)
{
    assert(s->n_slots > 0 && s->used <= s->n_slots / 2);
    size_t at = hash & (s->n_slots - 1);
    while (s->slots[at]) {
        const struct entry *n = s->entries[s->slots[at] - 1];
        if (n->hash == hash && strcmp(n->key, key) == 0)
            break;
        at = (at + 1) & (s->n_slots - 1);
    }
    return at;
}

static struct entry *find(const struct keyset *s, const char *key)
{
    if (s->count == 0)
        return NULL;
    uint32_t slot = s->slots[find_slot(s, key, hash_of(key))];
    return slot ? s->entries[slot - 1] : NULL;
}

/* Removes the gaps in `entries`, and fills `slots` again. */
static void compact(struct keyset *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->used; i++)
        if (s->entries[i])
            s->entries[n++] = s->entries[i];
    assert(n == s->count);
    s->used = n;
    memset(s->slots, 0, s->n_slots * sizeof *s->slots);
    for (size_t i = 0; i < n; i++) {
        /* all keys differ, so the first free slot is right */
        size_t at = s->entries[i]->hash & (s->n_slots - 1);
        while (s->slots[at])
            at = (at + 1) & (s->n_slots - 1);
        s->slots[at] = (uint32_t)(i + 1);
    }
}

static void release_table(struct keyset *s)
{
    free(s->entries);
    free(s->slots);
    s->entries = NULL;
    s->slots = NULL;
    s->bytes -= table_bytes(s->n_slots);
    s->n_slots = s->used = 0;
}

/* Changes the table to n_slots, enough for all entries. While both tables exist, both count. */
static bool resize(struct keyset *s, size_t n_slots)
{
    assert(s->count <= n_slots / 2);
    if (n_slots > UINT32_MAX || table_bytes(n_slots) > s->max - s->bytes)
        return false;
    struct entry **entries = malloc(n_slots / 2 * sizeof *entries);
    uint32_t *slots = malloc(n_slots * sizeof *slots);
    if (!entries || !slots) {
        free(entries);
        free(slots);
        return false;
    }
    size_t n = 0;
    for (size_t i = 0; i < s->used; i++)
        if (s->entries[i])
            entries[n++] = s->entries[i];
    release_table(s);
    s->entries = entries;
    s->slots = slots;
    s->n_slots = n_slots;
    s->used = n;
    s->bytes += table_bytes(n_slots);
    compact(s);
    return true;
}

/* Makes room for one more entry. Compacts only if that frees a good part of the table; otherwise a
 * set at its ceiling would be compacted for every key. */
static bool make_room(struct keyset *s)
{
    if (s->used < s->n_slots / 2)
        return true;
    size_t removed = s->used - s->count;
    if (removed <= s->used / 2 && resize(s, s->n_slots ? s->n_slots * 2 : FIRST_SLOTS))
        return true;
    if (removed <= s->used / 4)
        return false;
    compact(s);
    return true;
}

static void release_entry(struct keyset *s, struct entry *n)
{
    assert(s->count > 0 && s->bytes >= entry_bytes(n->key, n->value));
    s->bytes -= entry_bytes(n->key, n->value);
    s->count--;
    free(n);
}

/* Frees a slot, and moves back the entries after it that did not get their own slot. */
static void free_slot(struct keyset *s, size_t hole)
{
    size_t mask = s->n_slots - 1;
    for (size_t at = (hole + 1) & mask; s->slots[at]; at = (at + 1) & mask) {
        size_t home = s->entries[s->slots[at] - 1]->hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            s->slots[hole] = s->slots[at];
            hole = at;
        }
    }
    s->slots[hole] = 0;
}

/* ---- the set ---- */

struct keyset *keyset_new(size_t max_bytes)
{
    struct keyset *s = calloc(1, sizeof *s);
    if (s)
        s->max = max_bytes;
    return s;
}

void keyset_free(struct keyset *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->used; i++)
        free(s->entries[i]);
    free(s->entries);
    free(s->slots);
    free(s);
}

static struct entry *new_entry(const char *key, uint64_t hash, const char *value,
                               uint32_t generation)
{
    size_t key_size = strlen(key) + 1;
    struct entry *n = malloc(sizeof *n + texts_size(key, value));
    if (!n)
        return NULL;
    n->value = value ? n->key + key_size : NULL;
    n->hash = hash;
    n->generation = generation;
    memcpy(n->key, key, key_size);
    if (value)
        memcpy(n->key + key_size, value, strlen(value) + 1);
    return n;
}

/* Makes the new entry before freeing the old one, because key and value may point into the old one;
 * only one of them counts for the ceiling. */
static bool replace(struct keyset *s, size_t slot, const char *key, const char *value,
                    uint32_t generation)
{
    struct entry **place = &s->entries[s->slots[slot] - 1], *old = *place;
    size_t size = entry_bytes(key, value), others = s->bytes - entry_bytes(old->key, old->value);
    struct entry *n = size <= s->max - others ? new_entry(key, old->hash, value, generation) : NULL;
    if (!n) {
        keyset_remove(s, old->key);
        return false;
    }
    free(old);
    *place = n;
    s->bytes = others + size;
    return true;
}

bool keyset_put(struct keyset *s, const char *key, const char *value, uint32_t generation)
{
    uint64_t hash = hash_of(key);
    if (s->count > 0) {
        size_t slot = find_slot(s, key, hash);
        if (s->slots[slot])
            return replace(s, slot, key, value, generation);
    }
    if (!make_room(s))
        return false;
    size_t size = entry_bytes(key, value);
    struct entry *n = size <= s->max - s->bytes ? new_entry(key, hash, value, generation) : NULL;
    if (!n)
        return false;
    s->entries[s->used++] = n;
    s->slots[find_slot(s, key, hash)] = (uint32_t)s->used;
    s->bytes += size;
    s->count++;
    return true;
}

bool keyset_match(struct keyset *s, const char *key, const char *value, uint32_t generation)
{
    struct entry *n = find(s, key);
    if (!n || (value && n->value ? strcmp(value, n->value) != 0 : value != n->value))
        return false;
    n->generation = generation;
    return true;
}

bool keyset_has(const struct keyset *s, const char *key)
{
    return find(s, key) != NULL;
}

void keyset_remove(struct keyset *s, const char *key)
{
    if (s->count == 0)
        return;
    size_t slot = find_slot(s, key, hash_of(key));
    if (!s->slots[slot])
        return;
    size_t i = s->slots[slot] - 1;
    free_slot(s, slot);
    release_entry(s, s->entries[i]);
    s->entries[i] = NULL;
    if (s->count == 0)
        s->used = 0;
}

/* Also shrinks the table, because a walk over a large empty one takes time. */
void keyset_drop(struct keyset *s, uint32_t generation)
{
    size_t before = s->count;
    for (size_t i = 0; i < s->used; i++)
        if (s->entries[i] && s->entries[i]->generation != generation) {
            release_entry(s, s->entries[i]);
            s->entries[i] = NULL;
        }
    size_t n_slots = FIRST_SLOTS;
    while (n_slots / 4 < s->count)
        n_slots *= 2;
    if (s->count == 0)
        release_table(s);
    else if (s->n_slots / 4 >= n_slots && resize(s, n_slots))
        return;
    else if (s->count < before)
        compact(s);
}

size_t keyset_count(const struct keyset *s)
{
    return s->count;
}

bool keyset_next(const struct keyset *s, size_t *at, const char **key, const char **value)
{
    while (*at < s->used) {
        const struct entry *n = s->entries[(*at)++];
        if (!n)
            continue;
        *key = n->key;
        *value = n->value;
        return true;
    }
    return false;
}
