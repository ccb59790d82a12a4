#include "flow/tally.h"

#include "base/err.h"
#include "base/keyset.h"
#include "flow/ledger.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_BYTES = 64 << 20 }; /* of each set of keys; max_rejected ends a run long before */

struct tally {
    pthread_mutex_t mutex;
    struct counts counts;
    struct ledger *ledger;                        /* borrowed; NULL: none */
    struct keyset *rejected, *rejected_in_window; /* owned; made at the first key */
    uint64_t n_rejected_in_window;                /* of those keys, and of rows without one */
    char repeated[200];                           /* a key, cut where it is long; "": none */
};

struct tally *tally_new(struct err *e)
{
    struct tally *t = calloc(1, sizeof *t);
    if (!t) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&t->mutex, NULL);
    return t;
}

void tally_free(struct tally *t)
{
    if (!t)
        return;
    keyset_free(t->rejected);
    keyset_free(t->rejected_in_window);
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

void tally_enter_in(struct tally *t, struct ledger *l)
{
    t->ledger = l;
}

void tally_carry(struct tally *t, const struct counts *sums)
{
    pthread_mutex_lock(&t->mutex);
    counts_add(&t->counts, sums);
    pthread_mutex_unlock(&t->mutex);
}

static void count(struct tally *t, const struct counts *delta)
{
    counts_add(&t->counts, delta);
    if (t->ledger)
        ledger_count(t->ledger, delta, ledger_now());
}

void tally_deliver(struct tally *t, const struct change_times *changed, size_t n)
{
    if (t->ledger)
        ledger_deliver(t->ledger, changed, n, ledger_now());
}

void tally_add(struct tally *t, const struct counts *delta)
{
    pthread_mutex_lock(&t->mutex);
    count(t, delta);
    t->n_rejected_in_window += delta->rejected;
    pthread_mutex_unlock(&t->mutex);
}

struct counts tally_counts(struct tally *t)
{
    if (!t)
        return (struct counts){0};
    pthread_mutex_lock(&t->mutex);
    struct counts counts = t->counts;
    pthread_mutex_unlock(&t->mutex);
    return counts;
}

/* Whether the set did not have the key. A key for which there is no memory is new each time. */
static bool add_new(struct keyset **set, const char *key)
{
    if (!*set)
        *set = keyset_new(MAX_BYTES);
    if (*set && keyset_has(*set, key))
        return false;
    if (*set)
        keyset_put(*set, key, NULL, 0);
    return true;
}

bool tally_reject(struct tally *t, const char *key)
{
    pthread_mutex_lock(&t->mutex);
    if (add_new(&t->rejected, key))
        count(t, &(struct counts){.rejected = 1});
    bool is_new = add_new(&t->rejected_in_window, key);
    t->n_rejected_in_window += is_new;
    pthread_mutex_unlock(&t->mutex);
    return is_new;
}

void tally_reject_apart(struct tally *t, const char *key)
{
    pthread_mutex_lock(&t->mutex);
    if (add_new(&t->rejected, key))
        count(t, &(struct counts){.rejected = 1});
    pthread_mutex_unlock(&t->mutex);
}

uint64_t tally_rejected_in_window(struct tally *t)
{
    pthread_mutex_lock(&t->mutex);
    uint64_t n = t->n_rejected_in_window;
    pthread_mutex_unlock(&t->mutex);
    return n;
}

void tally_begin_window(struct tally *t)
{
    pthread_mutex_lock(&t->mutex);
    t->n_rejected_in_window = 0;
    keyset_free(t->rejected_in_window);
    t->rejected_in_window = NULL;
    pthread_mutex_unlock(&t->mutex);
}

void tally_set_repeated(struct tally *t, const char *key)
{
    pthread_mutex_lock(&t->mutex);
    if (!t->repeated[0])
        snprintf(t->repeated, sizeof t->repeated, "%s", key);
    pthread_mutex_unlock(&t->mutex);
}

void tally_repeated(struct tally *t, char *out, size_t size)
{
    pthread_mutex_lock(&t->mutex);
    snprintf(out, size, "%s", t->repeated);
    pthread_mutex_unlock(&t->mutex);
}
