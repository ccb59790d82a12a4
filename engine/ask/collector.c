#include "ask/collector.h"

#include "ask/spool.h"
#include "ask/sums.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/grow.h"
#include "base/keyset.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORKERS = 64,
    BLOCK_MAX = 1 << 30, /* bytes of records that one try adds */
    EXPECTED = 64 << 20, /* bytes: keys that are compared again, and their marks */
    UNIQUE = 256 << 20,  /* bytes: keys that differ, where one may come again */
    MARK = 40,           /* bytes of a mark */
};

/* What one worker's present try has found. */
struct part {
    struct findings found;
    struct buf again, kept; /* blocks of records */
    size_t n_again, n_kept;
    uint64_t *seen; /* owned: hashes */
    size_t n_seen, seen_cap;
};

struct collector {
    const struct explain *explain;
    struct collector_look look;
    struct worker_comparer comparer;
    struct part parts[WORKERS];
    pthread_mutex_t lock;
    /* under the lock: */
    struct findings found;
    struct keyset *expected, *unique; /* owned */
};

/* ---- marks ---- */

/* What is seen of a pair that differs. again: the second time that the index has no document. */
static void make_mark(const struct worker_pair *p, bool again, char out[MARK])
{
    if (p->found)
        snprintf(out, MARK, "v%lld", (long long)p->held_version);
    else
        snprintf(out, MARK, "%c%016llx", again ? 'b' : 'a',
                 (unsigned long long)sums_hash(p->made, p->made_len));
}

/* Whether the pair counts; if not, its mark for the next look. */
static bool is_confirmed(struct collector *c, const struct worker_pair *p, char mark[MARK])
{
    char again[MARK];
    make_mark(p, false, mark);
    make_mark(p, true, again);
    pthread_mutex_lock(&c->lock);
    bool first = keyset_match(c->expected, p->key, mark, 0);
    bool second = !p->found && keyset_match(c->expected, p->key, again, 0);
    keyset_remove(c->expected, p->key);
    pthread_mutex_unlock(&c->lock);
    if (first && !p->found)
        memcpy(mark, again, MARK);
    return p->found ? first : second;
}

static bool is_known(struct collector *c, const char *key)
{
    if (!c->look.fresh)
        return false;
    pthread_mutex_lock(&c->lock);
    bool known = keyset_has(c->unique, key);
    pthread_mutex_unlock(&c->lock);
    return known;
}

/* Whether the key has come before. Without room, it counts again. */
static bool is_repeated(struct collector *c, const char *key)
{
    if (!c->look.unique)
        return false;
    pthread_mutex_lock(&c->lock);
    bool known = keyset_has(c->unique, key);
    if (!known)
        keyset_put(c->unique, key, NULL, 0);
    pthread_mutex_unlock(&c->lock);
    return known;
}

/* ---- one pair ---- */

static bool see(struct part *p, const struct worker_pair *pair)
{
    uint64_t *seen = grow(p->seen, p->n_seen, &p->seen_cap, 1024, sizeof *seen);
    if (!seen)
        return false;
    p->seen = seen;
    seen[p->n_seen++] = sums_hash(pair->key, strlen(pair->key));
    return true;
}

static bool pack(struct buf *block, size_t *n, const struct worker_pair *pair, const char *mark)
{
    ++*n;
    return spool_pack(block,
                      &(struct spool_record){pair->key, mark, pair->no_rows, pair->any_routing});
}

static bool counts(struct collector *c, enum explain_kind kind, const struct worker_pair *pair,
                   char mark[MARK])
{
    if (kind == EXPLAIN_SAME || kind == EXPLAIN_FAILED || c->look.trust == COLLECT_ALL)
        return true;
    if (c->look.trust == COLLECT_CONFIRM)
        return is_confirmed(c, pair, mark);
    make_mark(pair, false, mark);
    return false;
}

static bool take(struct collector *c, struct part *p, const struct worker_pair *pair, struct err *e)
{
    enum explain_kind kind;
    char mark[MARK] = "";
    if (c->look.seen && pair->made && pair->found && !see(p, pair))
        return err_memory(e);
    if (is_known(c, pair->key))
        return true;
    if (!findings_judge(pair, &kind, e))
        return false;
    if (kind != EXPLAIN_SAME && is_repeated(c, pair->key))
        return true;
    if (!counts(c, kind, pair, mark))
        return pack(&p->again, &p->n_again, pair, mark) || err_memory(e);
    if (c->look.kept && kind != EXPLAIN_SAME && kind != EXPLAIN_FAILED &&
        !pack(&p->kept, &p->n_kept, pair, "a"))
        return err_memory(e);
    return findings_add(&p->found, c->explain, kind, pair, e);
}

static bool take_pair(void *arg, int worker, const struct worker_pair *pair, struct err *e)
{
    struct collector *c = arg;
    bool gone = !pair->made && !pair->failed;
    if ((c->look.only_rows && gone) || (c->look.only_gone && !gone) ||
        (!pair->made && !pair->found && !pair->failed && c->look.trust != COLLECT_CONFIRM))
        return true;
    return take(c, &c->parts[worker], pair, e);
}

/* ---- the end of a try ---- */

static void clear(struct part *p)
{
    findings_free(&p->found);
    buf_clear(&p->again);
    buf_clear(&p->kept);
    p->n_again = p->n_kept = p->n_seen = 0;
}

static bool add_part(struct collector *c, struct part *p, struct err *e)
{
    const struct collector_look *look = &c->look;
    for (size_t i = 0; look->seen && i < p->n_seen; i++)
        sums_add(look->seen, p->seen[i]);
    return (!look->again || spool_add(look->again, &p->again, p->n_again, e)) &&
           (!look->kept || spool_add(look->kept, &p->kept, p->n_kept, e)) &&
           (findings_move(&c->found, &p->found) || err_memory(e));
}

static bool end_try(void *arg, int worker, bool keep, struct err *e)
{
    struct collector *c = arg;
    struct part *p = &c->parts[worker];
    pthread_mutex_lock(&c->lock);
    bool ok = !keep || add_part(c, p, e);
    pthread_mutex_unlock(&c->lock);
    clear(p);
    return ok;
}

/* ---- the main thread ---- */

struct collector *collector_new(const struct explain *explain, size_t examples, struct err *e)
{
    struct collector *c = calloc(1, sizeof *c);
    if (!c || !(c->expected = keyset_new(EXPECTED)) || !(c->unique = keyset_new(UNIQUE))) {
        if (c)
            keyset_free(c->expected);
        free(c);
        err_memory(e);
        return NULL;
    }
    c->explain = explain;
    c->comparer = (struct worker_comparer){take_pair, end_try, c};
    pthread_mutex_init(&c->lock, NULL);
    findings_init(&c->found, examples);
    for (int i = 0; i < WORKERS; i++) {
        findings_init(&c->parts[i].found, examples);
        buf_init(&c->parts[i].again, BLOCK_MAX);
        buf_init(&c->parts[i].kept, BLOCK_MAX);
    }
    return c;
}

void collector_free(struct collector *c)
{
    if (!c)
        return;
    for (int i = 0; i < WORKERS; i++) {
        findings_free(&c->parts[i].found);
        buf_free(&c->parts[i].again);
        buf_free(&c->parts[i].kept);
        free(c->parts[i].seen);
    }
    findings_free(&c->found);
    keyset_free(c->expected);
    keyset_free(c->unique);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

const struct worker_comparer *collector_comparer(struct collector *c)
{
    return &c->comparer;
}

void collector_look(struct collector *c, const struct collector_look *look)
{
    pthread_mutex_lock(&c->lock);
    c->look = *look;
    pthread_mutex_unlock(&c->lock);
}

void collector_expect(struct collector *c, const struct spool_record *record)
{
    pthread_mutex_lock(&c->lock);
    keyset_put(c->expected, record->key, record->mark, 0);
    pthread_mutex_unlock(&c->lock);
}

struct findings *collector_found(struct collector *c)
{
    return &c->found;
}
