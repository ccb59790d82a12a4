#include "es/es_nodes.h"

#include "base/err.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    /* a restarted node is back in some ten seconds, a cut connection at once */
    SHORTEST_US = 1000 * 1000,
    LONGEST_US = 60 * 1000 * 1000, /* a node that is down for long costs one attempt a minute */
    DOUBLINGS = 6,                 /* from the shortest to the longest */
};

struct node {
    unsigned failures; /* since it last worked */
    bool tried;        /* a request was sent there since the last failure */
    int64_t since_us;  /* skipped from ... */
    int64_t until_us;  /* ... until then */
};

struct es_nodes {
    pthread_mutex_t lock;
    uint64_t random;
    size_t next, n;
    struct node nodes[];
};

struct es_nodes *es_nodes_new(size_t n, struct err *e)
{
    assert(n > 0);
    struct es_nodes *s = calloc(1, sizeof *s + n * sizeof *s->nodes);
    if (!s) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    s->random = (uint64_t)(uintptr_t)s; /* another seed in each process */
    s->n = n;
    return s;
}

void es_nodes_free(struct es_nodes *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static bool is_skipped(const struct node *node, int64_t now_us)
{
    return node->failures > 0 && now_us < node->until_us;
}

/* Half of it is random, so that many workers, or many engines, do not come back at the same
 * time. */
static int64_t skip_us(struct es_nodes *s, const struct node *node)
{
    unsigned doublings = node->failures - 1 < DOUBLINGS ? node->failures - 1 : DOUBLINGS;
    int64_t most = (int64_t)SHORTEST_US << doublings;
    if (most > LONGEST_US)
        most = LONGEST_US;
    /* Knuth's generator: its high bits are the random ones */
    s->random = s->random * 6364136223846793005u + 1442695040888963407u;
    return most / 2 + (int64_t)((s->random >> 33) % (uint64_t)(most / 2 + 1));
}

static void skip(struct es_nodes *s, struct node *node, int64_t now_us)
{
    node->since_us = now_us;
    node->until_us = now_us + skip_us(s, node);
}

static size_t longest_skipped(const struct es_nodes *s)
{
    size_t best = 0;
    for (size_t i = 1; i < s->n; i++)
        if (s->nodes[i].since_us < s->nodes[best].since_us)
            best = i;
    return best;
}

static size_t choose(const struct es_nodes *s, int64_t now_us)
{
    for (size_t i = 0; i < s->n; i++) {
        size_t node = (s->next + i) % s->n;
        if (!is_skipped(&s->nodes[node], now_us))
            return node;
    }
    return longest_skipped(s);
}

size_t es_nodes_pick(struct es_nodes *s, int64_t now_us)
{
    pthread_mutex_lock(&s->lock);
    size_t node = choose(s, now_us);
    s->next = (node + 1) % s->n;
    if (s->nodes[node].failures > 0) { /* only this request tries it; others still skip it */
        s->nodes[node].tried = true;
        skip(s, &s->nodes[node], now_us);
    }
    pthread_mutex_unlock(&s->lock);
    return node;
}

bool es_nodes_alive(struct es_nodes *s, int64_t now_us)
{
    pthread_mutex_lock(&s->lock);
    bool alive = !is_skipped(&s->nodes[choose(s, now_us)], now_us);
    pthread_mutex_unlock(&s->lock);
    return alive;
}

bool es_nodes_failed(struct es_nodes *s, size_t i, int64_t now_us)
{
    assert(i < s->n);
    pthread_mutex_lock(&s->lock);
    struct node *node = &s->nodes[i];
    bool was_healthy = node->failures == 0;
    /* otherwise several requests were under way, and their failures count as one */
    if (was_healthy || node->tried) {
        node->failures += node->failures <= DOUBLINGS;
        node->tried = false;
        skip(s, node, now_us);
    }
    pthread_mutex_unlock(&s->lock);
    return was_healthy;
}

bool es_nodes_worked(struct es_nodes *s, size_t i)
{
    assert(i < s->n);
    pthread_mutex_lock(&s->lock);
    bool had_failed = s->nodes[i].failures > 0;
    s->nodes[i].failures = 0;
    pthread_mutex_unlock(&s->lock);
    return had_failed;
}
