#include "cmd/state_show.h"

#include "base/clock.h"
#include "base/err.h"
#include "flow/progress.h"
#include "pg/pg_pool.h"
#include "pg/pg_replication.h"
#include "run/run_capture.h"
#include "run/run_servers.h"
#include "script/pipeline.h"
#include "source/source_capture.h"
#include "store/journal.h"
#include "store/state.h"
#include "store/state_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a pipeline that polls ---- */

static void show_table(const struct state_table *t)
{
    const struct checkpoint *m = &t->checkpoint;
    printf("%-10s %s%s%s", t->name, m->at.cursor ? m->at.cursor : "from the beginning",
           m->at.key ? ", up to key " : "", m->at.key ? m->at.key : "");
    if (m->window.from.cursor && !position_same(&m->window.from, &m->at))
        printf("; read again from %s", m->window.from.cursor);
    if (m->fanout.cursor)
        printf("; in progress: fan-out of changes up to %s", m->fanout.cursor);
    printf("\n");
}

static void show_watermarks(const struct state_data *d)
{
    char text[CLOCK_TEXT];
    printf("swept      %s\n", d->swept_us ? clock_text(d->swept_us, text) : "never");
    printf("watermarks\n");
    for (size_t i = 0; i < d->n_tables; i++)
        show_table(&d->tables[i]);
}

/* ---- a pipeline that captures from the log: what the state knows ---- */

/* Whether the next run compares every row, as the log cannot tell all that has changed. */
static bool owes_sweep(const struct state_data *d)
{
    return d->phase == STATE_FOLLOWING &&
           (d->swept_us == 0 || d->mtime.cursor || state_place(d).segment == 0);
}

static void show_sweep(const struct state_data *d)
{
    char text[CLOCK_TEXT];
    if (d->sweep_after)
        printf("sweep      in progress: compared up to key %s%s\n", d->sweep_after,
               d->sweep_again ? "; another one is owed after it" : "");
    else if (owes_sweep(d))
        printf("sweep      owed: the next run compares every row with the index\n");
    else if (d->sweep_again)
        printf("sweep      owed after the load\n");
    else
        printf("sweep      none is owed%s%s\n",
               d->swept_us ? "; the last load or sweep ended at " : "",
               d->swept_us ? clock_text(d->swept_us, text) : "");
}

static void show_delivered(const struct state_data *d)
{
    char text[CLOCK_TEXT];
    const struct position *at = d->n_tables > 0 ? &d->tables[0].checkpoint.at : &d->mtime;
    if (at->has_us)
        printf("delivered  all commits up to %s\n", clock_text(at->us, text));
    else
        printf("delivered  nothing from the log yet\n");
}

static bool show_journal(const struct pipeline *p, const struct state_data *d, struct err *e)
{
    char number[PROGRESS_TEXT];
    uint64_t bytes;
    struct journal_position at = state_place(d);
    char *prefix = journal_prefix(p->state);
    if (!prefix)
        return err_memory(e);
    bool ok = journal_waiting(prefix, at, &bytes, e);
    free(prefix);
    if (!ok)
        return false;
    printf("journal    %s bytes wait", progress_number(bytes, number));
    if (at.segment != 0)
        printf(", from byte %llu of segment %llu on", (unsigned long long)at.offset,
               (unsigned long long)at.segment);
    printf("\n");
    return true;
}

static bool show_progress(const struct pipeline *p, const struct state_data *d, struct err *e)
{
    if (d->phase == STATE_NEW)
        return true;
    show_delivered(d);
    show_sweep(d);
    return show_journal(p, d, e);
}

/* ---- what the server knows ---- */

struct server_side {
    struct source_slot slot, of_reindex;
    bool has_publication;
};

static bool find_slot_of_reindex(const struct pipeline *p, struct pg *pg, struct source_slot *out,
                                 struct err *e)
{
    char *name = run_reindex_slot(p);
    bool ok = name ? source_capture_find_slot(pg, name, out, e) : err_memory(e);
    free(name);
    return ok;
}

static bool ask(const struct pipeline *p, struct server_side *out, struct err *e)
{
    struct run_servers servers = {0};
    struct pg *pg = NULL;
    bool ok = run_open_servers(&servers, p, true, e) && (pg = pg_acquire(&servers.pool, e)) &&
              source_capture_find_slot(pg, p->source.slot, &out->slot, e) &&
              find_slot_of_reindex(p, pg, &out->of_reindex, e) &&
              source_capture_has_publication(pg, p->source.publication, &out->has_publication, e);
    pg_release(&servers.pool, pg);
    run_close_servers(&servers);
    return ok;
}

static void show_held(int64_t bytes)
{
    char number[PROGRESS_TEXT];
    printf("held back  %s bytes of the server's log\n",
           progress_number(bytes > 0 ? (uint64_t)bytes : 0, number));
}

static void show_slot_of_reindex(const struct source_slot *slot)
{
    if (slot->status == SOURCE_SLOT_MISSING)
        return;
    printf("reindex    has a slot of its own%s\n",
           slot->pid ? "" : ", which is read by nobody: run reindex again to its end");
    if (slot->status == SOURCE_SLOT_READY)
        show_held(slot->held_bytes);
}

static void show_slot(const struct pipeline *p, const struct source_slot *slot, bool is_new)
{
    const char *sweeps = is_new ? "" : ", and sweeps";
    char lsn[PG_LSN_TEXT];
    printf("slot       %s", p->source.slot);
    switch (slot->status) {
    case SOURCE_SLOT_MISSING:
        printf(" does not exist: the next run creates it%s\n", sweeps);
        return;
    case SOURCE_SLOT_LOST:
        printf(" is lost, as %s: the next run creates it again%s\n", slot->why, sweeps);
        return;
    case SOURCE_SLOT_FOREIGN:
        printf(" is of another plugin, or of another database: the next run refuses it\n");
        return;
    case SOURCE_SLOT_READY:
        break;
    }
    if (slot->pid)
        printf(", read by process %d", slot->pid);
    else
        printf(", read by nobody now");
    printf("\nposition   %s\n", pg_lsn_text(slot->confirmed, lsn));
    show_held(slot->held_bytes);
}

static void show_server(const struct pipeline *p, bool is_new)
{
    struct server_side s;
    struct err e;
    setenv("PGCONNECT_TIMEOUT", "3", 0); /* the state is shown in any case */
    bool ok = ask(p, &s, &e);
    if (ok)
        show_slot(p, &s.slot, is_new);
    else
        printf("slot       %s: %s\n", p->source.slot, e.text);
    printf("published  by %s%s\n", p->source.publication,
           ok && !s.has_publication ? ", which does not exist: the next run creates it" : "");
    if (ok)
        show_slot_of_reindex(&s.of_reindex);
}

/* ---- all of it ---- */

static void show_data(const struct pipeline *p, const struct state_data *d)
{
    printf("pipeline   %s\n", d->pipeline);
    printf("index      %s (%s)\n", d->index, d->index_uuid);
    if (d->phase == STATE_SNAPSHOT)
        printf("phase      snapshot: loaded up to key %s\n", d->after ? d->after : "(none yet)");
    else
        printf("phase      following\n");
    printf("version    %lld\n", (long long)d->version);
    if (!p->source.wal)
        show_watermarks(d);
}

static void show_state(const struct pipeline *p, const struct state_data *d)
{
    char text[CLOCK_TEXT];
    printf("state      %s\n", p->state);
    if (d->phase == STATE_NEW) {
        printf("phase      new: the file does not exist, the next run loads everything\n");
    } else if (d->mtime_only) {
        printf(
            "phase      following: the file is empty, so its modification time is the watermark\n");
        printf("watermark  %s\n", clock_text(d->mtime.us, text));
    } else {
        show_data(p, d);
    }
}

/* The slot of the state, if the script polls now, or names another one. */
static void show_left_slot(const struct pipeline *p, const struct state_data *d)
{
    if (d->slot && !(p->source.wal && strcmp(d->slot, p->source.slot) == 0))
        printf("left       slot %s, from which changes were captured before\n", d->slot);
}

bool state_show(const struct pipeline *p, struct err *e)
{
    struct state_data d;
    if (!state_file_read(p->state, &d, e))
        return pipeline_at_state(e, p);
    show_state(p, &d);
    bool ok = true;
    if (p->source.wal) {
        printf("capture    wal\n");
        ok = show_progress(p, &d, e);
        show_server(p, d.phase == STATE_NEW);
    }
    show_left_slot(p, &d);
    state_data_free(&d);
    return ok;
}
