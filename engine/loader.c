#include "loader.h"

#include "buf.h"
#include "bulk.h"
#include "clock.h"
#include "copies.h"
#include "err.h"
#include "es.h"
#include "index.h"
#include "keyset.h"
#include "log.h"
#include "pg.h"
#include "pipeline.h"
#include "queue.h"
#include "retry.h"
#include "row.h"
#include "script.h"
#include "source.h"
#include "stop.h"
#include "throttle.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BODY_MAX = 256 << 20,        /* bytes; one document beyond it is rejected */
    PLACED_MAX = 8 << 20,        /* bytes of keys whose older copies are looked for together */
    KNOWN_MAX = 1 << 20,         /* bytes: some thousand names of indexes */
    OUTPUT_AHEAD = 8 << 20,      /* bytes a worker may be ahead of its turn to print */
    IDLE_MS = 2000,              /* without work, until a worker gives up its connection */
    CLOCK_STEP_US = 1000 * 1000, /* what the database's clock may gain on ours within a batch */
};

struct worker {
    const struct loader_config *config; /* borrowed, as is throttle */
    struct throttle *throttle;
    char name[16];
    pthread_t thread;
    struct script *script; /* owned, as all that follows */
    struct pg_pool pool;
    struct es *es;
    struct bulk bulk;
    struct script_meta meta; /* of the last document */
    struct copies gone,
        placed;           /* of a scattered pipeline: keys without a document; keys whose document was sent */
    bool batch_ends;      /* this flush is its last */
    struct keyset *known; /* indexes seen to be there; NULL: none */
    struct buf output;    /* LOADER_DOCUMENTS */
    struct buf key;       /* the row's */
    struct batch *batch;
    bool *seen;                    /* one for each of the batch's keys, in sorted order: its row was there */
    struct bulk_sums sums;         /* of this try at the batch */
    struct bulk_sums printed;      /* made since the last flush_output, and not yet counted in sums */
    bool row_checked, report_lost; /* report_lost: no memory for a rejection: this try must fail */
    int64_t version, read_at_us, made;
};

struct loader {
    struct loader_config config;
    struct throttle *throttle; /* owned */
    struct worker *workers;
    int started;
};

/* ---- rejected documents ---- */

/* The report goes with the batch, and so to disk before the state passes it. */
static void report_rejected(const char *key, int status, const char *reason, void *arg)
{
    struct worker *w = arg;
    log_warn("document '%s' rejected: %s", key, reason);
    if (!batch_reject(w->batch, key, status, reason))
        w->report_lost = true;
}

/* Adds to what everybody sees, and remembers it, to be taken back if this try at the batch fails. */
static void count(struct worker *w, const struct bulk_sums *delta)
{
    w->sums.indexed += delta->indexed;
    w->sums.deleted += delta->deleted;
    w->sums.unchanged += delta->unchanged;
    w->sums.rejected += delta->rejected;
    w->sums.same += delta->same;
    queue_add_sums(w->config->queue, delta);
}

static void uncount(struct worker *w)
{
    struct bulk_sums back = {.indexed = -w->sums.indexed,
                             .deleted = -w->sums.deleted,
                             .unchanged = -w->sums.unchanged,
                             .rejected = -w->sums.rejected,
                             .same = -w->sums.same};
    queue_add_sums(w->config->queue, &back); /* unsigned: it wraps to the right sum */
    w->sums = (struct bulk_sums){0};
}

/* A wrong mapping is noticed before it has rejected a million documents. */
static bool check_budget(struct worker *w, struct err *e)
{
    uint64_t max = w->config->max_rejected;
    if (w->report_lost)
        return err_memory(e);
    if (queue_sums(w->config->queue).rejected <= max)
        return true;
    err_set(e, ERR_FINAL, "more than %llu documents were rejected (max_rejected)", (unsigned long long)max);
    return err_hint(e,
                    "correct document() or the mapping, and run again: the state did not pass the last ones");
}

static bool reject(struct worker *w, const char *key, const char *reason, struct err *e)
{
    report_rejected(key, 0, reason, w);
    count(w, &(struct bulk_sums){.rejected = 1});
    return check_budget(w, e);
}

/* ---- trying again ---- */

/* Not a moment longer than somebody wants the result: another worker's failure may end the run. */
static void start_retry(struct worker *w, struct retry *r)
{
    retry_start(r, w->config->give_up_after);
    r->over = queue_is_over;
    r->arg = w->config->queue;
}

/* ---- sending ---- */

/* The index may have forgotten that a document was deleted since we read it: what is too old is not sent. */
static bool check_age(struct worker *w, struct err *e)
{
    int64_t max = w->config->max_age_us;
    if (max == 0 || clock_mono_us() - w->read_at_us < max)
        return true;
    return err_set(e, ERR_PASSING,
                   "rows grew too old while they waited for the search server; reading them again");
}

/* A version that is not ours stands in the way. If the database's clock has passed it by now, it is another
 * run's, which has read from this database after us: what is read again is as new as that, and gets a higher
 * version. */
static bool meet_stranger(struct worker *w, struct err *e)
{
    int64_t clock_us = w->version + (clock_mono_us() - w->read_at_us);
    if (e->kind == ERR_FINAL && w->bulk.foreign != 0 && w->bulk.foreign <= clock_us + CLOCK_STEP_US) {
        e->kind = ERR_PASSING;
        e->hint[0] = '\0';
        return err_wrap(e, "another run is writing to the index; reading again");
    }
    return false;
}

/* One try, in its turn. *fresh: the rows were not too old for it. */
static bool send_once(struct worker *w, struct bulk_sums *sums, bool *fresh, struct err *e)
{
    struct throttle_turn turn;
    if (!throttle_enter(w->throttle, w->bulk.n, queue_is_over, w->config->queue, &turn, e))
        return false;
    bool ok = false;
    enum throttle_outcome outcome = THROTTLE_FAILED;
    w->bulk.enough = throttle_bytes(w->throttle);
    if ((*fresh = check_age(w, e))) {
        int64_t issued = queue_issued(w->config->queue);
        ok = bulk_send(&w->bulk, w->es, w->config->pipeline->sink.index, issued, sums, report_rejected, w, e);
        outcome = ok ? THROTTLE_TAKEN : e->overloaded ? THROTTLE_OVERLOADED : THROTTLE_FAILED;
    }
    throttle_leave(w->throttle, &turn, outcome);
    return ok;
}

static bool send_all(struct worker *w, struct bulk_sums *sums, struct err *e)
{
    struct retry retry;
    bool fresh = true;
    start_retry(w, &retry);
    while (w->bulk.n > 0) {
        size_t before = w->bulk.n;
        if (send_once(w, sums, &fresh, e))
            break;
        if (!fresh) /* it will not get younger */
            return false;
        if (w->bulk.n < before)
            retry_moved(&retry);
        if (!retry_again(&retry, e))
            return meet_stranger(w, e);
    }
    retry_done(&retry);
    return true;
}

/* ---- what need not be sent, and what must not ---- */

struct comparison {
    struct bulk *bulk;
    const size_t *items; /* the ones asked for, of bulk */
    size_t next;
    uint64_t same;
    const struct copies *copies; /* of a scattered pipeline */
};

/* Drops an item that would change nothing: a document that is there, byte for byte, and nowhere else, or the
 * delete of one that is not. */
static bool compare(const struct index_document *d, void *arg, struct err *e)
{
    struct comparison *c = arg;
    (void)e;
    size_t i = c->items[c->next++], len;
    const char *document = bulk_document(c->bulk, i, &len);
    bool same = document && d->source && d->source_len == len && memcmp(d->source, document, len) == 0;
    if (same && c->copies && copies_count(c->copies, d->key) != 1)
        same = false;
    c->same += same;
    if (same || (!document && !d->found))
        bulk_drop(c->bulk, i);
    return true;
}

/* Asks the index about all items, or about the deletes alone, and drops those that would change nothing. */
static bool drop_needless(struct worker *w, bool deletes_alone, struct err *e)
{
    struct bulk *b = &w->bulk;
    const char **keys = malloc(b->n * sizeof *keys);
    struct index_place *places = malloc(b->n * sizeof *places);
    size_t *items = malloc(b->n * sizeof *items), n = 0;
    bool scattered = w->config->pipeline->sink.scattered, ok = (keys && items && places) || err_memory(e);
    for (size_t i = 0; ok && i < b->n; i++)
        if (!deletes_alone || b->items[i].is_delete) {
            items[n] = i;
            places[n] = (struct index_place){bulk_index(b, i), bulk_routing(b, i)};
            keys[n++] = bulk_key(b, i);
        }
    struct comparison c = {.bulk = b, .items = items, .copies = scattered ? &w->placed : NULL};
    ok = ok && (n == 0 || index_get_at(w->es, w->config->pipeline->sink.index, keys,
                                       scattered ? places : NULL, n, !deletes_alone, compare, &c, e));
    free(places);
    free(keys);
    free(items);
    if (!ok)
        return false;
    bulk_compact(b);
    count(w, &(struct bulk_sums){.same = c.same});
    return true;
}

static int64_t count_deletes(const struct bulk *b)
{
    int64_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += b->items[i].is_delete;
    return n;
}

/* The guard: a source error, an emptied table, row security or a wrong join must never empty an index. Only
 * deletes of documents that are there count; the index is asked about them when their number begins to
 * matter. */
static bool guard_deletes(struct worker *w, int64_t *taken, struct err *e)
{
    struct queue *q = w->config->queue;
    *taken = count_deletes(&w->bulk);
    if (*taken == 0 || queue_take_deletes(q, *taken))
        return true;
    *taken = 0;
    if (!drop_needless(w, true, e))
        return false;
    int64_t n = count_deletes(&w->bulk);
    if (queue_take_deletes(q, n)) {
        *taken = n;
        return true;
    }
    err_set(e, ERR_FINAL, "refused to delete so many documents of index '%s': %lld more have no row",
            w->config->pipeline->sink.index, (long long)n);
    return err_hint(e, "is the table empty, the query's join wrong, or are rows hidden from this user? if "
                       "the rows are really gone: "
                       "--allow-deletes");
}

/* Documents that choose their index and routing are deleted wherever they are, whichever row is gone. */
static bool add_gone(struct worker *w, struct err *e)
{
    return copies_find(&w->gone, e) && copies_drop_all(&w->gone, &w->bulk, w->version, e);
}

/* What has moved is sent, and noted: its older copies go once it is there. */
static bool prepare_scattered(struct worker *w, struct err *e)
{
    bool compare_them = w->batch->only_differences;
    for (size_t i = 0; i < w->bulk.n; i++)
        copies_note(&w->placed, bulk_key(&w->bulk, i));
    if (compare_them && !copies_find(&w->placed, e))
        return false;
    return (!compare_them || w->bulk.n == 0 || drop_needless(w, false, e)) && add_gone(w, e);
}

/* Not for each request of a large batch: what is found needs a refresh first, and a search for each thousand
 * keys. A batch that breaks off before is read again. */
static bool drop_older(struct worker *w, struct bulk_sums *sums, struct err *e)
{
    struct bulk_sums others = {0};
    if (!w->batch_ends && !w->batch->only_differences && w->placed.keys.len < PLACED_MAX)
        return true;
    bool ok =
        copies_find(&w->placed, e) && copies_drop_older(&w->placed, &w->bulk, e) && send_all(w, &others, e);
    sums->requests += others.requests;
    sums->bytes += others.bytes;
    sums->retried_items += others.retried_items;
    copies_clear(&w->placed);
    return ok;
}

static bool flush_index(struct worker *w, struct err *e)
{
    struct bulk_sums sums = {0};
    int64_t taken = 0;
    bool scattered = w->config->pipeline->sink.scattered;
    bool ok = scattered ? prepare_scattered(w, e)
                        : !w->batch->only_differences || w->bulk.n == 0 || drop_needless(w, false, e);
    bool moved = w->bulk.n > 0 || !w->batch->only_differences;
    ok = ok && guard_deletes(w, &taken, e) && send_all(w, &sums, e) &&
         (!scattered || !moved || drop_older(w, &sums, e));
    queue_give_deletes(w->config->queue, taken - (int64_t)sums.deleted);
    count(w, &sums);
    bulk_clear(&w->bulk);
    copies_clear(&w->gone);
    if (!moved)
        copies_clear(&w->placed);
    return ok && check_budget(w, e);
}

/* ---- printing ---- */

/* How much standard output takes at once without waiting for anybody: a file, or /dev/null, much; a pipe that
 * is ready, no more than this: a reader that has stalled must not keep us when we are asked to stop. */
static size_t portion(void)
{
    struct stat s;
    bool waits =
        fstat(STDOUT_FILENO, &s) != 0 || !(S_ISREG(s.st_mode) || S_ISCHR(s.st_mode)) || isatty(STDOUT_FILENO);
    return waits ? PIPE_BUF : 1 << 20;
}

static bool write_out(struct worker *w, const char *data, size_t len, struct err *e)
{
    size_t most = portion();
    while (len > 0) {
        if (stop_wait_fd(STDOUT_FILENO, POLLOUT, -1) == STOP_ASKED)
            return stop_err(e);
        ssize_t n = write(STDOUT_FILENO, data, len < most ? len : most);
        if (n < 0 && errno == EPIPE) {
            queue_enough(w->config->queue); /* `| head` has seen what it wanted */
            return true;
        }
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return err_set(e, ERR_FINAL, "cannot write to standard output: %s", strerror(errno));
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static bool flush_output(struct worker *w, struct err *e)
{
    struct buf *b = w->config->output == LOADER_BULK ? &w->bulk.body : &w->output;
    bool ok = true;
    if (b->len > 0 && queue_turn(w->config->queue, w->batch))
        ok = write_out(w, b->data, b->len, e);
    queue_add_sums(w->config->queue, &(struct bulk_sums){.bytes = b->len});
    count(w, &w->printed); /* of an index, the search server's answer counts */
    w->printed = (struct bulk_sums){0};
    buf_clear(&w->output);
    bulk_clear(&w->bulk);
    return ok;
}

static bool flush(struct worker *w, struct err *e)
{
    return w->config->output == LOADER_INDEX ? flush_index(w, e) : flush_output(w, e);
}

static bool flush_if_full(struct worker *w, struct err *e)
{
    bool full = w->config->output == LOADER_INDEX
                    ? throttle_is_full(w->throttle, w->bulk.body.len + w->gone.keys.len, w->bulk.n)
                    : w->bulk.body.len >= OUTPUT_AHEAD || w->output.len >= OUTPUT_AHEAD;
    return !full || flush(w, e);
}

/* ---- rows to documents ---- */

static void count_made(struct worker *w, bool present)
{
    w->made += present;
    w->printed.indexed += present;
    w->printed.deleted += !present;
}

static bool limit_reached(const struct worker *w)
{
    return w->config->limit > 0 && w->made >= w->config->limit;
}

static bool add_delete(struct worker *w, const char *key, struct err *e)
{
    count_made(w, false);
    if (w->config->output == LOADER_INDEX && w->config->pipeline->sink.scattered) {
        copies_note(&w->gone, key);
        return true;
    }
    return w->config->output == LOADER_DOCUMENTS || bulk_delete(&w->bulk, key, w->version, e);
}

/* The index that a document names is made like sink.index, if it is missing. */
static bool ensure_index(struct worker *w, const char *index, struct err *e)
{
    const struct pipeline *p = w->config->pipeline;
    struct index_info info;
    if (w->config->output != LOADER_INDEX || (w->known && keyset_has(w->known, index)))
        return true;
    if (!w->known && !(w->known = keyset_new(KNOWN_MAX)))
        return err_memory(e);
    if (!index_look(w->es, index, &info, e))
        return false;
    if (!info.exists) {
        if (!index_create(w->es, index, p->sink.settings, p->sink.mappings, e))
            return false;
        log_info("created index '%s'", index);
    }
    keyset_put(w->known, index, NULL, 0); /* without room: looked at again */
    return true;
}

/* Where document() says that this one goes. */
static bool place(struct worker *w, struct err *e)
{
    const struct pipeline *p = w->config->pipeline;
    const struct script_meta *m = &w->meta;
    if ((m->index[0] || m->routing[0]) && !p->sink.scattered)
        return err_set(
            e, ERR_FINAL,
            "document() returned %s, and sink has no field 'indices', where such documents are looked "
            "for later: indices = \"%s\"",
            m->index[0] ? "an index" : "a routing", m->index[0] ? "NAME-*" : p->sink.index);
    if (m->index[0] && !pipeline_has_index(p, m->index))
        return err_set(e, ERR_FINAL, "document() returned index '%s', which is none of sink.indices (%s)",
                       m->index, p->sink.indices);
    if (m->index[0] && !ensure_index(w, m->index, e))
        return false;
    if (w->config->output != LOADER_DOCUMENTS && (m->index[0] || m->routing[0] || m->pipeline[0]))
        bulk_place(&w->bulk, m->index, m->routing, m->pipeline);
    return true;
}

/* Writes the document straight into the request's body, or into the output. */
static bool add_document(struct worker *w, const PGresult *row, const char *key, struct err *e)
{
    bool print = w->config->output == LOADER_DOCUMENTS, present;
    if (!print)
        bulk_begin(&w->bulk, key, w->version);
    struct buf *out = print ? &w->output : &w->bulk.body;
    size_t before = out->len;
    bool ok =
        script_document(w->script, &w->config->source->columns, row, 0, key, out, &w->meta, &present, e) &&
        (!present || place(w, e));
    if (ok && present && print)
        ok = buf_addc(out, '\n') || err_memory(e);
    else if (ok && present)
        ok = bulk_commit(&w->bulk, e);
    else if (print)
        buf_cut(out, before);
    else
        bulk_abort(&w->bulk);
    if (ok && present)
        count_made(w, true);
    return ok && (present || add_delete(w, key, e));
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In order, each once: a key of which one copy were not seen would be deleted. */
static void sort_keys(struct batch *b)
{
    size_t n = 0;
    qsort(b->keys, b->n, sizeof *b->keys, compare_keys);
    for (size_t i = 0; i < b->n; i++)
        if (n > 0 && strcmp(b->keys[n - 1], b->keys[i]) == 0)
            free(b->keys[i]);
        else
            b->keys[n++] = b->keys[i];
    b->n = n;
}

static void mark_seen(struct worker *w, const char *key)
{
    struct batch *b = w->batch;
    char **found = w->seen ? bsearch(&key, b->keys, b->n, sizeof *b->keys, compare_keys) : NULL;
    if (found)
        w->seen[found - b->keys] = true;
}

/* A dead letter that has succeeded, or has gone, is one no more: unless the server rejects it after all,
 * which comes behind. */
static bool clear_dead(struct worker *w, const char *key, struct err *e)
{
    return w->config->output != LOADER_INDEX || !queue_is_dead(w->config->queue, key) ||
           batch_reject(w->batch, key, 0, NULL) || err_memory(e);
}

static bool load_row(struct worker *w, const PGresult *row, struct err *e)
{
    const struct source *s = w->config->source;
    if (!w->row_checked && !row_fits(&s->columns, row))
        return err_set(e, ERR_FINAL, "the columns of the query have changed while it ran: run again");
    w->row_checked = true; /* all rows of one result have the same columns */
    const char *key = source_key(s, row, &w->key);
    if (!key)
        return w->key.failed ? err_memory(e) : reject(w, "", "its key is NULL", e);
    mark_seen(w, key);
    if (add_document(w, row, key, e))
        return clear_dead(w, key, e) && flush_if_full(w, e);
    return e->kind == ERR_FINAL && reject(w, key, e->text, e) && flush_if_full(w, e);
}

static bool load_rows(struct worker *w, struct pg *pg, struct err *e)
{
    const PGresult *row;
    while (!queue_ended(w->config->queue) && !limit_reached(w)) {
        if (stop_asked())
            return stop_err(e);
        if (!pg_next(pg, &row, e))
            return false;
        if (!row)
            return true;
        if (!load_row(w, row, e))
            return false;
    }
    return true;
}

/* A key that was asked for and has no row any more: its document goes. */
static bool delete_unseen(struct worker *w, struct err *e)
{
    for (size_t i = 0; w->seen && i < w->batch->n; i++)
        if (!w->seen[i] && !(add_delete(w, w->batch->keys[i], e) && clear_dead(w, w->batch->keys[i], e) &&
                             flush_if_full(w, e)))
            return false;
    return true;
}

static bool read_batch(struct worker *w, struct pg *pg, struct err *e)
{
    struct queue *q = w->config->queue;
    int64_t reserved = queue_reserve(q), clock;
    w->read_at_us = clock_mono_us();
    if (!source_fetch(w->config->source, pg, w->batch, w->config->output != LOADER_INDEX, &clock, e))
        return false;
    w->version = queue_issue(q, clock, reserved);
    w->row_checked = w->batch_ends = false;
    if (!load_rows(w, pg, e) || !(queue_ended(q) || limit_reached(w) || delete_unseen(w, e)))
        return false;
    w->batch_ends = true;
    if (!flush(w, e))
        return false;
    if (limit_reached(w))
        queue_enough(q);
    return true;
}

static bool try_batch(struct worker *w, struct err *e)
{
    struct batch *b = w->batch;
    bulk_clear(&w->bulk);
    buf_clear(&w->output);
    copies_clear(&w->gone);
    copies_clear(&w->placed);
    w->sums = w->printed = (struct bulk_sums){0};
    w->report_lost = false;
    batch_forget_rejections(b);
    if (w->seen)
        memset(w->seen, 0, b->n * sizeof *w->seen);
    struct pg *pg = pg_take(&w->pool, e);
    bool ok = pg && read_batch(w, pg, e);
    pg_give(&w->pool, pg);
    if (!ok)
        uncount(w);
    return ok;
}

static bool load_batch(struct worker *w, struct err *e)
{
    struct batch *b = w->batch;
    struct retry retry;
    if (!b->is_range && b->n == 0) /* its mark is all that it brings */
        return true;
    if (!b->is_range) {
        sort_keys(b);
        w->seen = calloc(b->n, sizeof *w->seen);
        if (!w->seen)
            return err_memory(e);
    }
    start_retry(w, &retry);
    bool ok;
    while (!(ok = try_batch(w, e)) && retry_again(&retry, e))
        ;
    if (ok)
        retry_done(&retry);
    free(w->seen);
    w->seen = NULL;
    return ok;
}

/* ---- threads ---- */

static int64_t latest_version(void *queue)
{
    return queue_issued(queue);
}

static bool open_worker(struct worker *w, struct err *e)
{
    const struct loader_config *c = w->config;
    pg_pool_init(&w->pool, c->pg);
    bulk_init(&w->bulk, BODY_MAX);
    w->bulk.latest = latest_version;
    w->bulk.latest_arg = c->queue;
    buf_init(&w->output, BODY_MAX);
    buf_init(&w->key, BODY_MAX);
    if (c->es && !(w->es = es_open(c->es, e)))
        return false;
    copies_init(&w->gone, w->es, c->pipeline->sink.indices, BODY_MAX);
    copies_init(&w->placed, w->es, c->pipeline->sink.indices, BODY_MAX);
    if (!(w->script = script_open(c->script, e)))
        return false;
    script_serve(w->script,
                 &(struct script_services){.pg = &w->pool, .es = w->es, .state_path = c->state_path});
    return true;
}

static void close_worker(struct worker *w)
{
    script_close(w->script); /* first: its collector may still give a connection back */
    es_close(w->es);
    pg_pool_free(&w->pool);
    bulk_free(&w->bulk);
    copies_free(&w->gone);
    copies_free(&w->placed);
    keyset_free(w->known);
    buf_free(&w->output);
    buf_free(&w->key);
}

static struct batch *next_batch(struct worker *w)
{
    if (!queue_ready(w->config->queue, IDLE_MS))
        pg_pool_free(&w->pool); /* a worker with a batch may be waiting for it */
    return queue_get(w->config->queue);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct err e = {0};
    log_thread(w->name);
    bool ok = open_worker(w, &e);
    while (ok && (w->batch = next_batch(w))) {
        ok = load_batch(w, &e);
        if (ok && !queue_ended(w->config->queue))
            queue_ack(w->config->queue, w->batch);
        else
            batch_free(w->batch);
    }
    if (!ok && !queue_ended(w->config->queue))
        queue_fail(w->config->queue, &e);
    close_worker(w);
    return NULL;
}

struct loader *loader_start(const struct loader_config *config, struct err *e)
{
    struct loader *l = calloc(1, sizeof *l);
    if (!l) {
        err_memory(e);
        return NULL;
    }
    l->config = *config;
    l->throttle = throttle_new(config->workers, (size_t)config->pipeline->sink.batch_bytes,
                               config->pipeline->sink.max_rate, e);
    l->workers = calloc((size_t)config->workers, sizeof *l->workers);
    if (!l->throttle || !l->workers) {
        err_memory(e);
        loader_join(l);
        return NULL;
    }
    for (int i = 0; i < config->workers; i++) {
        struct worker *w = &l->workers[i];
        w->config = &l->config;
        w->throttle = l->throttle;
        snprintf(w->name, sizeof w->name, "w%d", i + 1);
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            err_set(e, ERR_FINAL, "cannot start worker %d", i + 1);
            queue_fail(config->queue, e);
            loader_join(l);
            return NULL;
        }
        l->started++;
    }
    return l;
}

void loader_join(struct loader *l)
{
    if (!l)
        return;
    for (int i = 0; i < l->started; i++)
        pthread_join(l->workers[i].thread, NULL);
    throttle_free(l->throttle);
    free(l->workers);
    free(l);
}
