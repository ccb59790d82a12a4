#include "feed/fanout.h"

#include "base/alike.h"
#include "base/err.h"
#include "base/hash.h"
#include "model/batch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* keys; batches of 250 to 4,000 cost PostgreSQL the same (measured) */
enum { BATCH_LEAST = 1000, BATCH_MOST = 4000, SHARES = 8 };
enum { FEW_ROWS = 3 }; /* if `affects` fails for all rows, and not only these, it is wrong itself */

void fanout_init(struct fanout *f, const struct fanout_queries *queries)
{
    *f = (struct fanout){.stage = FANOUT_OVER};
    if (queries)
        f->queries = *queries;
}

void fanout_free(struct fanout *f)
{
    keylist_free(&f->rows);
    keylist_free(&f->part);
    free(f->after);
    *f = (struct fanout){.stage = FANOUT_OVER};
}

void fanout_resume_after(struct fanout *f, char *after, uint64_t hash)
{
    free(f->after);
    f->after = after;
    f->resume_hash = hash;
}

/* ---- the rows ---- */

void fanout_clear(struct fanout *f)
{
    keylist_free(&f->rows);
    keylist_free(&f->part);
    f->next = 0;
    f->hash = HASH_START;
    f->stage = FANOUT_OVER;
}

/* The text with its final zero byte. */
static void add_to_hash(uint64_t *hash, const char *text)
{
    *hash = hash_bytes(*hash, text, strlen(text) + 1);
}

bool fanout_add(struct fanout *f, const char *key, const char *version)
{
    add_to_hash(&f->hash, key);
    add_to_hash(&f->hash, version);
    return keylist_add(&f->rows, key);
}

/* A fan-out that was broken off continues only if its rows are still the same: a row that has
 * appeared among them affects keys before the last one, too. */
void fanout_begin(struct fanout *f, bool resumed)
{
    f->stage = f->rows.n == 0 ? FANOUT_OVER : f->queries.affected ? FANOUT_HOLDERS : FANOUT_ROWS;
    if (resumed && f->hash == f->resume_hash)
        return;
    free(f->after);
    f->after = NULL;
}

/* ---- rows on which `affects` fails ---- */

struct sieve {
    struct keylist good; /* rows on which it does not fail */
    size_t bad;
};

static bool try_rows(const struct fanout *f, char **rows, size_t n, struct err *e)
{
    const struct keylist some = {.keys = rows, .n = n, .cap = n};
    struct keylist ignored = {0};
    bool ok = f->queries.affected(f->queries.arg, &some, NULL, &ignored, e);
    keylist_free(&ignored);
    return ok;
}

static bool is_fault_of_row(const struct err *e)
{
    return e->kind == ERR_FINAL && e->fault == ERR_FAULT_ROW;
}

/* Halving finds the rows. */
static bool sift(const struct fanout *f, char **rows, size_t n, struct sieve *s, struct err *e)
{
    bool ok = try_rows(f, rows, n, e);
    for (size_t i = 0; ok && i < n; i++)
        ok = keylist_add(&s->good, rows[i]) || err_memory(e);
    if (ok || !is_fault_of_row(e))
        return ok;
    if (n > 1)
        return sift(f, rows, n / 2, s, e) && sift(f, rows + n / 2, n - n / 2, s, e);
    s->bad++;
    alike_warn(
        NULL, LOG_FIELDS(log_text("key", rows[0]), log_text("table", f->queries.label), LOG_ERR(e)),
        "cannot tell which documents row '%s' of '%s' affects: %s; a sweep compares them", rows[0],
        f->queries.label, e->text);
    return true;
}

/* Leaves out the rows on which `affects` fails. If it fails on all of them, or without any row, the
 * script is wrong: returns false, and *e stays as it is. */
static bool leave_out_bad_rows(struct fanout *f, struct err *e)
{
    struct sieve s = {0};
    struct err other;
    bool ok = try_rows(f, f->rows.keys, 0, &other) && sift(f, f->rows.keys, f->rows.n, &s, &other);
    if (!ok || (s.good.n == 0 && s.bad > FEW_ROWS)) {
        keylist_free(&s.good);
        if (!ok && other.kind != ERR_FINAL)
            *e = other;
        return false;
    }
    keylist_free(&f->rows);
    f->rows = s.good;
    return true;
}

/* ---- parts ---- */

static bool ask_affected(struct fanout *f, struct err *e)
{
    const struct fanout_queries *q = &f->queries;
    bool ok = q->affected(q->arg, &f->rows, f->after, &f->part, e);
    if (!ok && is_fault_of_row(e))
        ok = leave_out_bad_rows(f, e) && q->affected(q->arg, &f->rows, f->after, &f->part, e);
    if (!ok)
        return false;
    char *after = f->part.n > 0 ? strdup(f->part.keys[f->part.n - 1]) : NULL;
    if (f->part.n > 0 && !after)
        return err_memory(e);
    if (after) {
        free(f->after);
        f->after = after;
    }
    f->in_order = true;
    f->stage = f->part.n < FANOUT_PART ? FANOUT_OVER : FANOUT_AFFECTED;
    return true;
}

static bool ask_holders(struct fanout *f, struct err *e)
{
    if (!f->queries.holders(f->queries.arg, &f->rows, &f->part, e))
        return false;
    f->in_order = false;
    f->stage = FANOUT_AFFECTED;
    return true;
}

static void take_rows(struct fanout *f)
{
    f->part = f->rows;
    f->rows = (struct keylist){0};
    f->in_order = false;
    f->stage = FANOUT_OVER;
}

bool fanout_has_keys(const struct fanout *f)
{
    return f->next < f->part.n;
}

bool fanout_is_over(const struct fanout *f)
{
    return f->stage == FANOUT_OVER && !fanout_has_keys(f);
}

bool fanout_fill(struct fanout *f, struct err *e)
{
    if (fanout_has_keys(f) || f->stage == FANOUT_OVER)
        return true;
    keylist_free(&f->part);
    f->next = 0;
    if (f->stage == FANOUT_ROWS) {
        take_rows(f);
        return true;
    }
    if (f->stage == FANOUT_HOLDERS ? ask_holders(f, e) : ask_affected(f, e))
        return true;
    keylist_free(&f->part);
    return false;
}

/* A long fan-out is sent in requests of the full size, as a load is. Towards its end batches get
 * smaller, so that all workers finish together; a short one is shared among them, too. */
static size_t batch_size(const struct fanout *f)
{
    size_t left = f->part.n - f->next, size = left / SHARES;
    bool ends = f->stage == FANOUT_OVER;
    return !ends || size > BATCH_MOST ? BATCH_MOST : size < BATCH_LEAST ? BATCH_LEAST : size;
}

bool fanout_copy(const struct fanout *f, struct batch *b)
{
    size_t most = batch_size(f);
    for (size_t i = f->next; i < f->part.n && b->n < most; i++)
        if (!batch_add_key(b, f->part.keys[i]))
            return false;
    return true;
}

bool fanout_ends_after(const struct fanout *f, size_t n)
{
    assert(n <= f->part.n - f->next);
    return f->stage == FANOUT_OVER && f->next + n == f->part.n;
}

bool fanout_can_resume(const struct fanout *f)
{
    return f->in_order && f->after;
}

void fanout_advance(struct fanout *f, size_t n)
{
    assert(n <= f->part.n - f->next);
    f->next += n;
}
