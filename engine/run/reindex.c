/* How a reindex works, and why it loses nothing.
 *
 * The new index, "movies-20261124-133005", is loaded like a first run loads: by a pipeline of its
 * own, whose state is in the file STATE.reindex next to the script's file STATE, in the same
 * format. That state names the index before the index is created, so that no index is ever left
 * unknown.
 *
 *     1. catch up   read the changes since the load began, from the checkpoints in STATE.reindex
 *     2. check      sweep: compare every row with the new index, and every id in it with the rows
 *     3. metadata   write to the new index's _meta which indexes it replaces (its predecessors)
 *     4. swap       in one request: the alias never points to both indexes, nor to none
 *     5. hand over  the new index's state becomes STATE
 *
 * STATE.reindex is to the new index what STATE is to the old one: all that was committed below its
 * checkpoints is in the new index. So a process that writes to the alias may continue from these
 * checkpoints once the alias points to the new index. It misses nothing, wherever its requests from
 * before the swap went: their rows had been committed by then.
 *
 * Nobody else holds the lock of STATE: we take it before the swap, and save our state as STATE
 * after it. If we die between the two, the next run finds an index that is not the one in STATE,
 * but that names that one among its predecessors, and STATE.reindex: run_adopt continues from its
 * checkpoints.
 *
 * Another process holds the lock:
 *
 *     reindex                          run --follow
 *
 *     asks for a pause (quiesce) ----> finishes its requests, pauses
 *     polls for the last time
 *     swaps the alias
 *     releases ----------------------> looks at the index: a predecessor's place was taken
 *     polls once more                  adopts: takes the checkpoints of STATE.reindex, if it is
 *                                      there
 *     removes STATE.reindex            reloads the script, sweeps
 *
 *   During the pause no request is in progress, and no search finds less in the new index than it
 *   found in the old one a moment before. It reloads the script because the new index was made by
 *   the present one. It sweeps because rows that only a sweep sees may have been deleted from the
 *   old index alone.
 *
 *   A follower that does not pause in time, or a run without --follow, sees the new index a little
 *   later. What it wrote through the alias to the old index before the swap, even if the answer
 *   came after it, was committed before the swap. We poll once more after the swap, and only then
 *   remove STATE.reindex. So either the other process finds that file and continues from its
 *   checkpoints, or our last poll has brought all those changes.
 *
 *   A late request, ours or the other's, carries rows that were read earlier: its versions are
 *   lower, and lose.
 *
 * Capture from the log: the new index has a slot of its own, SLOT_reindex, from before its load
 * until the end of the reindex, and a journal next to STATE.reindex. Wherever "polls" stands above,
 * it reads the log up to that moment. The script's own slot and journal are not touched: what they
 * have after STATE's place is delivered to the new index later, some of it a second time. A reindex
 * that was killed leaves its slot to the call that continues with it.
 *
 * A process whose state is several reindexes old adopts in the same way: an index names the
 * predecessors of its predecessors, too, 16 in all.
 */
#include "run/reindex.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/stop.h"
#include "base/text.h"
#include "flow/delete_budget.h"
#include "flow/queue.h"
#include "flow/tally.h"
#include "flow/versions.h"
#include "index/index_alias.h"
#include "run/run.h"
#include "run/run_capture.h"
#include "run/run_execute.h"
#include "run/run_guard.h"
#include "run/run_index.h"
#include "run/run_load.h"
#include "run/run_meta.h"
#include "run/run_open.h"
#include "run/run_workers.h"
#include "store/deadletter.h"
#include "store/quiesce.h"
#include "store/state_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAUSE_MS = 30 * 1000, /* how long a follower may take to finish its requests */
    SWEEPS = 3,           /* until the counts agree */
};

struct reindex {
    struct run run; /* of the new index */
    const struct reindex_options *o;
    char *alias, *main_path;     /* owned: sink.index and state, as the script has them */
    struct index_info old;       /* what the alias points to */
    struct index_meta old_meta;  /* and its metadata */
    struct state_data main_data; /* STATE as it was at the beginning */
    struct state_file *main;     /* owned: the lock of STATE; NULL: another process holds it */
    bool resumed, swapped; /* the new index is an earlier call's; that call swapped the alias */
    size_t rejected;       /* documents, by the new index */
    long long kept;        /* old indexes, while others are removed */
};

static const char *name_of(const struct reindex *x)
{
    return x->run.user.pipeline.name;
}

/* Repeats step until it succeeds; waits for servers that are down. */
static bool patiently(struct reindex *x, bool (*step)(void *arg, struct err *e), struct err *e)
{
    return retry_until(x->run.servers.give_up_after, step, x, e);
}

/* ---- the old index ---- */

static bool check_old(void *arg, struct err *e)
{
    struct reindex *x = arg;
    struct run *r = &x->run;
    if (!run_check_search(r, e) || !index_get_info(r->servers.es, x->alias, &x->old, e) ||
        (x->old.exists && !index_read_meta(r->servers.es, x->old.name, &x->old_meta, e)))
        return false;
    if (x->old.several)
        return err_set(e, ERR_USAGE, "cannot reindex '%s': it is an alias of several indexes",
                       x->alias);
    if (x->old.exists && x->old_meta.known && !index_is_of(x->old_meta.pipeline, name_of(x)))
        return run_refuse_owner(r, x->old.name, x->old_meta.pipeline, e);
    if (!x->old.exists || strcmp(x->old.name, x->alias) != 0 || x->o->replace_index)
        return true;
    err_set(e, ERR_USAGE, "cannot swap '%s': it is an index itself, not an alias", x->alias);
    return err_hint(e, "--replace-index removes it, and makes an alias of its name, in one step");
}

static bool read_main(struct reindex *x, struct err *e)
{
    struct state_data *d = &x->main_data;
    if (!state_file_read(x->main_path, d, e))
        return false;
    if (!d->pipeline || strcmp(d->pipeline, name_of(x)) == 0)
        return true;
    err_set(e, ERR_USAGE, "state file '%s' belongs to pipeline '%s', not to '%s'", x->main_path,
            d->pipeline, name_of(x));
    return err_hint(e, "if '%s' was renamed: etl-engine run %s --take-over", d->pipeline,
                    x->run.user.text.ref);
}

/* ---- which index ---- */

static bool is_ours(const struct reindex *x, const struct index_meta *m)
{
    return m->known && index_is_of(m->pipeline, name_of(x));
}

static bool has_rejected(const struct reindex *x)
{
    char *path = deadletters_default_path(x->run.user.pipeline.state);
    bool some = path && deadletters_exist(path);
    free(path);
    return some;
}

/* What to do with the index that an earlier call began: continue with it (x->resumed), or remove it
 * (*clear) and build another one. */
static bool judge_unfinished(struct reindex *x, const struct state_data *d, bool *clear,
                             struct err *e)
{
    struct index_info begun;
    struct index_meta m = {0};
    *clear = false;
    if (!index_get_info(x->run.servers.es, d->index, &begun, e) ||
        (begun.exists && !index_read_meta(x->run.servers.es, d->index, &m, e)))
        return false;
    bool same = begun.exists && strcmp(begun.uuid, d->index_uuid) == 0;
    /* the call ended before it could save the uuid */
    bool created = begun.exists && !*d->index_uuid && is_ours(x, &m);
    bool by_this_script = strcmp(m.fingerprint, x->run.user.fingerprint) == 0;
    bool serves = begun.exists && x->old.exists && strcmp(begun.uuid, x->old.uuid) == 0;
    if (serves) { /* swapped, but perhaps not handed over */
        bool handed_over =
            x->main_data.index_uuid && strcmp(x->main_data.index_uuid, x->old.uuid) == 0;
        x->resumed = x->swapped = same && by_this_script && !handed_over;
    } else {
        /* Documents that were rejected then may be valid now: a module of the script, which the
         * fingerprint does not cover, may have changed. */
        bool try_again = d->phase == STATE_FOLLOWING && !x->o->allow_rejected && has_rejected(x);
        x->resumed = same && by_this_script && !try_again;
        *clear = (same || created) && !x->resumed;
    }
    return true;
}

/* "movies-20261124-133005"; if that is taken, a second later. */
static bool choose_name(struct reindex *x, char out[INDEX_NAME], struct err *e)
{
    struct index_info taken = {.exists = true};
    for (int64_t us = clock_wall_us(); taken.exists; us += 1000000) {
        char t[CLOCK_TEXT];
        clock_text(us, t); /* 2026-11-24T13:30:05... */
        int n = snprintf(out, INDEX_NAME, "%s-%.4s%.2s%.2s-%.2s%.2s%.2s", x->alias, t, t + 5, t + 8,
                         t + 11, t + 14, t + 17);
        if (n >= INDEX_NAME)
            return err_set(e, ERR_USAGE,
                           "index name '%.100s...' is too long: a time is added to it", x->alias);
        if (!index_get_info(x->run.servers.es, out, &taken, e))
            return false;
    }
    return true;
}

/* The state names the index before the index exists. */
static bool begin(struct reindex *x, struct err *e)
{
    char name[INDEX_NAME];
    struct state_data d = {.phase = STATE_SNAPSHOT};
    if (!choose_name(x, name, e))
        return false;
    char *rejected = deadletters_default_path(x->run.user.pipeline.state);
    if (rejected)
        deadletters_discard(rejected); /* of an index that is gone */
    free(rejected);
    bool ok = text_set(&d.pipeline, name_of(x)) && text_set(&d.index, name) &&
              text_set(&d.index_uuid, "");
    ok = (ok || err_memory(e)) && state_file_save(x->run.state.file, &d, e) &&
         pipeline_set_index(&x->run.user.pipeline, name, e);
    state_data_free(&d);
    return ok;
}

static bool choose_index(void *arg, struct err *e)
{
    struct reindex *x = arg;
    struct run *r = &x->run;
    struct state_data d = {0};
    bool clear = false;
    x->resumed = x->swapped = false;
    bool ok = state_file_read(r->user.pipeline.state, &d, e);
    bool begun = ok && d.phase != STATE_NEW && d.index && d.index_uuid;
    ok = ok && (!begun || judge_unfinished(x, &d, &clear, e));
    if (ok && clear) {
        log_info_with(LOG_FIELDS(log_text("index", d.index)),
                      "%s: removing '%s', which an earlier reindex began", name_of(x), d.index);
        ok = index_delete(r->servers.es, d.index, e);
    }
    if (ok && x->resumed) {
        log_info_with(LOG_FIELDS(log_text("index", d.index)),
                      "%s: continuing with '%s', which an earlier reindex began", name_of(x),
                      d.index);
        ok = pipeline_set_index(&r->user.pipeline, d.index, e);
    } else if (ok) {
        ok = begin(x, e);
    }
    state_data_free(&d);
    return ok;
}

/* ---- building it ---- */

static bool set_loading(void *arg, struct err *e)
{
    struct reindex *x = arg;
    struct run *r = &x->run;
    return index_set_loading(r->servers.es, r->index.info.name, true, NULL, e);
}

static bool set_serving(void *arg, struct err *e)
{
    struct reindex *x = arg;
    struct run *r = &x->run;
    return index_set_loading(r->servers.es, r->index.info.name, false,
                             r->user.pipeline.sink.settings, e);
}

/* The indexes that this one replaces: the old one, and those that it replaced. */
static bool save_predecessors(void *arg, struct err *e)
{
    struct reindex *x = arg;
    struct run *r = &x->run;
    struct index_meta *m = &r->index.meta;
    m->n_predecessors = 0;
    memset(m->predecessors, 0, sizeof m->predecessors);
    if (x->old.exists)
        memcpy(m->predecessors[m->n_predecessors++], x->old.uuid, INDEX_UUID);
    for (size_t i = 0; i < x->old_meta.n_predecessors && m->n_predecessors < INDEX_PREDECESSORS;
         i++)
        memcpy(m->predecessors[m->n_predecessors++], x->old_meta.predecessors[i], INDEX_UUID);
    m->version = versions_last(r->work.flow.versions);
    if (index_write_meta(r->servers.es, r->index.info.name, r->user.pipeline.sink.mappings, m, e)) {
        r->index.saved_meta = *m;
        return true;
    }
    if (e->kind == ERR_PASSING)
        return false;
    log_warn_with(LOG_FIELDS(log_text("alias", x->alias), LOG_ERR(e)),
                  "%s; other processes that write to '%s' will load everything again", e->text,
                  x->alias);
    return true;
}

static bool count_old(void *arg, struct err *e)
{
    struct reindex *x = arg;
    struct run *r = &x->run;
    int64_t count = 0;
    if (x->old.exists && !index_count(r->servers.es, x->old.name, &count, e))
        return false;
    int64_t gone = count - r->state.data.documents;
    if (x->o->allow_deletes || gone <= RUN_FREE_DELETES || gone <= count / 2)
        return true;
    err_set(e, ERR_FINAL,
            "not swapping '%s': it has %" PRId64 " documents, its successor '%s' only %" PRId64,
            x->alias, count, r->index.info.name, r->state.data.documents);
    return err_hint(e, DELETE_BUDGET_HINT);
}

/* A sweep compares every row and every id. After it the index has as many documents as there are
 * rows with one, give or take those that changed during the sweep. */
static bool check(struct reindex *x, struct err *e)
{
    struct run *r = &x->run;
    for (int i = 0;; i++) {
        struct counts was = tally_counts(r->work.flow.tally);
        if (!run_sweep(r, e) || !run_patiently(r, run_count_documents, e))
            return false;
        struct counts is = tally_counts(r->work.flow.tally);
        int64_t changed = (int64_t)(is.indexed - was.indexed + is.deleted - was.deleted +
                                    is.superseded - was.superseded);
        int64_t seen = (int64_t)(is.unchanged - was.unchanged + is.indexed - was.indexed +
                                 is.superseded - was.superseded);
        int64_t less = seen - r->state.data.documents;
        if (less <= changed && -less <= changed)
            return patiently(x, count_old, e);
        if (i == SWEEPS)
            return err_set(e, ERR_FINAL,
                           "index '%s' has %" PRId64 " documents, but %" PRId64
                           " rows have a document",
                           r->index.info.name, r->state.data.documents, seen);
    }
}

static bool check_rejected(struct reindex *x, struct err *e)
{
    const struct deadletters *dead = x->run.state.dead;
    x->rejected = deadletters_count(dead);
    if (x->rejected == 0 || x->o->allow_rejected)
        return true;
    err_set(e, ERR_FINAL,
            "not swapping '%s': its successor '%s' has rejected %zu document%s (see '%s')",
            x->alias, x->run.index.info.name, x->rejected, x->rejected == 1 ? "" : "s",
            deadletters_path(dead));
    return err_hint(e, "correct the script or the rows, and reindex again; or --allow-rejected");
}

static bool set_slot(struct pipeline *p, struct err *e)
{
    char *slot = run_reindex_slot(p);
    if (!slot)
        return err_memory(e);
    free(p->source.slot);
    p->source.slot = slot;
    return true;
}

static bool build(struct reindex *x, struct err *e)
{
    struct run *r = &x->run;
    r->options.full = !x->resumed;
    if (r->state.data.phase != STATE_FOLLOWING && !patiently(x, set_loading, e))
        return false;
    return run_patiently(r, run_guard, e) && run_load(r, e) && check_rejected(x, e) &&
           check(x, e) && check_rejected(x, e) && patiently(x, set_serving, e) &&
           patiently(x, save_predecessors, e);
}

/* ---- swapping ---- */

static bool refresh(void *arg, struct err *e)
{
    struct reindex *x = arg;
    struct run *r = &x->run;
    return index_refresh(r->servers.es, r->index.info.name, e);
}

/* Each try looks the alias up again: somebody else may have changed it. */
static bool swap_alias(void *arg, struct err *e)
{
    struct reindex *x = arg;
    struct run *r = &x->run;
    struct index_info now;
    if (!index_get_info(r->servers.es, x->alias, &now, e))
        return false;
    if (now.exists && strcmp(now.uuid, r->index.info.uuid) == 0)
        return true;
    if (now.exists != x->old.exists || strcmp(now.uuid, x->old.uuid) != 0)
        return err_set(e, ERR_FINAL,
                       "alias '%s' was changed during the reindex: it points to '%s' now", x->alias,
                       now.exists ? now.name : "none");
    return index_swap(r->servers.es, x->alias, now.exists ? now.name : NULL, r->index.info.name, e);
}

/* What was set by hand ends with the old index, unless the user hears of it now. */
static bool warn_settings_left(void *arg, struct err *e)
{
    struct reindex *x = arg;
    struct run *r = &x->run;
    const struct index_succession s = {x->old.name, r->index.info.name,
                                       r->user.pipeline.sink.settings};
    char left[INDEX_SETTINGS_LEFT];
    if (!x->old.exists)
        return true;
    if (!index_find_settings_left(r->servers.es, &s, left, e))
        return e->kind == ERR_FINAL; /* it is only for a warning */
    if (*left)
        log_warn_with(
            LOG_FIELDS(log_text("index", r->index.info.name), log_text("settings", left)),
            "%s: index '%s' has settings that the script does not name, and '%s', which takes its "
            "place, does not have them: %s; to keep them, add them to sink.settings and reindex "
            "again",
            name_of(x), x->old.name, r->index.info.name, left);
    return true;
}

static bool swap(struct reindex *x, struct err *e)
{
    struct run *r = &x->run;
    struct err taken;
    bool paused = true;
    int asked = -1;
    x->main = state_file_open(x->main_path, &taken);
    if (!x->main)
        asked = quiesce_ask(x->main_path, PAUSE_MS, &paused);
    if (!paused)
        log_warn_with(
            LOG_FIELDS(log_text("path", x->main_path), log_real("wait_seconds", PAUSE_MS / 1e3)),
            "%s: the process that holds state file '%s' did not pause within %d s; continuing",
            name_of(x), x->main_path, PAUSE_MS / 1000);
    bool ok = run_changes(r, e) && check_rejected(x, e) && patiently(x, refresh, e) &&
              patiently(x, swap_alias, e);
    quiesce_release(asked);
    if (ok)
        log_info_with(
            LOG_FIELDS(log_text("alias", x->alias), log_text("index", r->index.info.name)),
            "%s: alias '%s' points to '%s' now%s%s", name_of(x), x->alias, r->index.info.name,
            x->old.exists ? ", no longer to " : "",
            !x->old.exists                       ? ""
            : strcmp(x->old.name, x->alias) == 0 ? "an index of that name"
                                                 : x->old.name);
    return ok;
}

/* ---- handing over ---- */

/* The script's own slot and journal continue from STATE's places, which hold for the new index,
 * too: it has more. */
static bool keep_places(struct reindex *x, struct err *e)
{
    struct state_data *d = &x->run.state.data, old = {0};
    if (!run_captures(&x->run))
        return true;
    bool ok =
        state_file_read(x->main_path, &old, e) && (text_set(&d->slot, old.slot) || err_memory(e));
    for (size_t i = 0; ok && i < d->n_tables; i++) {
        const struct state_table *t = state_find(&old, d->tables[i].name);
        checkpoint_free(&d->tables[i].checkpoint);
        ok = !t || checkpoint_copy(&d->tables[i].checkpoint, &t->checkpoint) || err_memory(e);
    }
    free(d->slot);
    d->slot = old.slot; /* NULL: the first run makes it */
    old.slot = NULL;
    state_data_free(&old);
    return ok;
}

/* The new index's dead letters become the script's, before the state passes the rejected rows. */
static bool hand_over_rejected(struct reindex *x, struct err *e)
{
    struct run *r = &x->run;
    char *to = deadletters_default_path(x->main_path);
    if (!to)
        return err_memory(e);
    bool ok = deadletters_move(r->state.dead, to, e);
    if (ok && x->rejected > 0)
        log_warn_with(
            LOG_FIELDS(log_int("dead_letters", (long long)x->rejected), log_text("path", to)),
            "%s: %zu dead letters in '%s'", name_of(x), x->rejected, to);
    free(to);
    deadletters_close(r->state.dead);
    r->state.dead = r->work.coordinator.dead = NULL;
    return ok;
}

static bool hand_over(struct reindex *x, struct err *e)
{
    struct run *r = &x->run;
    x->rejected = deadletters_count(r->state.dead);
    if (x->main) {
        run_save_meta(r);
        if (!text_set(&r->state.data.index, x->alias))
            return err_memory(e);
        run_close_capture(r); /* its places are of the journal that ends here */
        if (!keep_places(x, e) || !hand_over_rejected(x, e) ||
            !state_file_save(x->main, &r->state.data, e))
            return false;
    } else {
        log_info_with(LOG_FIELDS(log_text("path", x->main_path)),
                      "%s: the process that holds state file '%s' continues with the new index",
                      name_of(x), x->main_path);
    }
    return state_file_remove(r->state.file, e);
}

/* Removes an index that this one has replaced, which its uuid tells: an index that merely has such
 * a name may be anybody's. */
static bool remove_old(const char *index, void *arg, struct err *e)
{
    struct reindex *x = arg;
    struct index_info info;
    if (!index_get_info(x->run.servers.es, index, &info, e))
        return false;
    if (!info.exists || !index_is_predecessor(&x->run.index.meta, info.uuid))
        return true;
    if (x->kept < x->o->keep) {
        x->kept++;
        return true;
    }
    if (!index_delete(x->run.servers.es, index, e))
        return false;
    log_info_with(LOG_FIELDS(log_text("index", index)), "%s: removed '%s'", name_of(x), index);
    return true;
}

static bool finish(struct reindex *x, struct err *e)
{
    struct run *r = &x->run;
    struct err ignored;
    if (!x->main) /* resumed after the swap; or the other process has ended since */
        x->main = state_file_open(x->main_path, &ignored);
    if (!run_changes(r, e) || !hand_over(x, e))
        return false;
    if (!index_each_old(r->servers.es, x->alias, remove_old, x, &ignored))
        log_warn_with(LOG_FIELDS(LOG_ERR(&ignored)), "could not remove old indexes: %s",
                      ignored.text);
    return true;
}

/* ---- the whole ---- */

static bool work(void *arg, struct err *e)
{
    struct reindex *x = arg;
    struct run *r = &x->run;
    bool ok = run_patiently(r, run_open_capture, e) &&
              (x->swapped || (build(x, e) && patiently(x, warn_settings_left, e) && swap(x, e))) &&
              finish(x, e);
    struct err ignored;
    if (!ok)
        queue_fail(r->work.flow.queue, e);
    run_close_capture(r);
    run_stop_workers(r);
    /* after a signal nothing is asked of a server any more */
    if (run_captures(r) && (stop_asked() || !run_drop_capture(r, ok ? e : &ignored))) {
        log_warn_with(LOG_FIELDS(log_text("slot", r->user.pipeline.source.slot)),
                      "%s: slot '%s' stays on the server, and holds back its log until 'etl-engine "
                      "reindex %s' has ended",
                      name_of(x), r->user.pipeline.source.slot, r->user.text.ref);
        return false;
    }
    return ok;
}

/* Versions continue above those in the index that is replaced. */
static void raise_version(struct reindex *x)
{
    struct state_data *d = &x->run.state.data;
    if (x->main_data.version > d->version)
        d->version = x->main_data.version;
    if (x->old_meta.version > d->version)
        d->version = x->old_meta.version;
}

static bool open_all(struct reindex *x, const char *script, struct err *e)
{
    struct run *r = &x->run;
    struct pipeline *p = &r->user.pipeline;
    if (!run_open_script(&r->user, script, e))
        return false;
    log_pipeline(p->name);
    if (!run_open_servers(&r->servers, p, false, e))
        return false;
    if (strcmp(p->sink.indices, p->sink.index) != 0)
        return err_set(
            e, ERR_USAGE,
            "%s: cannot reindex with sink.indices: documents choose among several indexes, "
            "and a reindex replaces one",
            p->script);
    if (!text_set(&x->alias, p->sink.index))
        return err_memory(e);
    if (!set_slot(p, e))
        return false;
    x->main_path = p->state;
    p->state = run_reindex_path(x->main_path);
    if (!p->state)
        return err_memory(e);
    if (!run_reach(r, RUN_SEARCH, check_old, x, e) || !read_main(x, e) ||
        !(r->state.file = state_file_open(p->state, e)) || !patiently(x, choose_index, e) ||
        !run_open_rest(r, e))
        return false;
    raise_version(x);
    return true;
}

bool reindex(const struct reindex_options *o, const char *script, bool terminal, bool *rejected,
             struct err *e)
{
    struct reindex x = {
        .o = o,
        .run = {.options = {.allow_deletes = o->allow_deletes, .workers = o->workers},
                .terminal = terminal,
                .servers.give_up_after = (double)o->give_up_after,
                .started_us = clock_mono_us()}};
    bool ok = open_all(&x, script, e) && run_execute(&x.run, work, &x, e);
    *rejected = x.rejected > 0;
    state_file_close(x.main);
    state_data_free(&x.main_data);
    run_close(&x.run);
    free(x.alias);
    free(x.main_path);
    return ok;
}
