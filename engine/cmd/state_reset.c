#include "cmd/state_reset.h"

#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "pg/pg_pool.h"
#include "run/run_capture.h"
#include "run/run_servers.h"
#include "script/pipeline.h"
#include "source/source_capture.h"
#include "store/journal.h"
#include "store/state.h"
#include "store/state_file.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is on the server ---- */

/* Refuses a slot that is in use, or that a pipeline of another database has by the same name.
 * *exists: whether there is one to drop. */
static bool check_slot(struct pg *pg, const char *name, bool *exists, struct err *e)
{
    struct source_slot slot;
    if (!source_capture_find_slot(pg, name, &slot, e))
        return false;
    if (slot.status == SOURCE_SLOT_FOREIGN) {
        err_set(e, ERR_USAGE,
                "cannot drop slot '%s': it is of another plugin, or of another database", name);
        return err_hint(e, "name this pipeline's own in source.slot, or leave out --drop-slot");
    }
    if (slot.pid) {
        err_set(e, ERR_FINAL, "cannot drop slot '%s': process %d of the server reads it", name,
                slot.pid);
        return err_hint(e,
                        "end the run that uses it; if there is none: "
                        "SELECT pg_terminate_backend(%d)",
                        slot.pid);
    }
    *exists = slot.status != SOURCE_SLOT_MISSING;
    return true;
}

static bool drop_slot(const struct pipeline *p, struct pg *pg, const char *name, struct err *e)
{
    if (source_capture_drop_slot(pg, name, e)) {
        log_info_with(LOG_FIELDS(log_text("slot", name)), "%s: dropped slot '%s'", p->name, name);
        return true;
    }
    if (e->kind == ERR_FINAL && !*e->hint)
        err_hint(e,
                 "the role needs REPLICATION, or a superuser runs: "
                 "SELECT pg_drop_replication_slot('%s')",
                 name);
    return false;
}

/* Who shares the slot loses nothing, but has to compare. */
static void tell_others(const struct pipeline *p)
{
    char *own = pipeline_own_slot(p);
    if (own && strcmp(own, p->source.slot) != 0)
        log_warn_with(LOG_FIELDS(log_text("slot", p->source.slot)),
                      "%s: if other pipelines share slot '%s', their next run makes it again, and "
                      "compares every row",
                      p->name, p->source.slot);
    free(own);
}

enum { OURS, OF_REINDEX, BEFORE, SLOTS };

/* The pipeline's slot, that of a reindex that was killed, and that of the state, if the script
 * names another one now. */
static bool drop_slots(const struct pipeline *p, const char *before, struct pg *pg, struct err *e)
{
    bool exists[SLOTS] = {false}, ok = true;
    char *of_reindex = run_reindex_slot(p);
    const char *names[SLOTS] = {p->source.slot, of_reindex, before};
    if (text_same(before, names[OURS]))
        names[BEFORE] = NULL;
    if (!of_reindex)
        return err_memory(e);
    for (int i = 0; ok && i < SLOTS; i++)
        ok = !names[i] || check_slot(pg, names[i], &exists[i], e);
    for (int i = 0; ok && i < SLOTS; i++)
        ok = !exists[i] || drop_slot(p, pg, names[i], e);
    if (ok && exists[OURS])
        tell_others(p);
    if (ok && !exists[OURS])
        log_info_with(LOG_FIELDS(log_text("slot", names[OURS])), "%s: there is no slot '%s'",
                      p->name, names[OURS]);
    free(of_reindex);
    return ok;
}

/* The slot is gone by then. */
static bool report_kept_publication(const struct pipeline *p, struct err *e)
{
    const char *name = p->source.publication;
    bool refused = e->kind == ERR_FINAL && !*e->hint;
    err_wrap(e, "dropped slot '%s', but not publication '%s', which stays, as the state does",
             p->source.slot, name);
    if (refused)
        err_hint(e,
                 "its owner, or a superuser, runs: DROP PUBLICATION \"%s\"; then the same command "
                 "once more removes the state",
                 name);
    return false;
}

static bool drop_publication(const struct pipeline *p, struct pg *pg, struct err *e)
{
    const char *name = p->source.publication;
    bool has;
    if (!source_capture_has_publication(pg, name, &has, e))
        return false;
    if (!has) {
        log_info_with(LOG_FIELDS(log_text("publication", name)), "%s: there is no publication '%s'",
                      p->name, name);
        return true;
    }
    if (!source_capture_drop_publication(pg, name, e))
        return report_kept_publication(p, e);
    log_info_with(LOG_FIELDS(log_text("publication", name)), "%s: dropped publication '%s'",
                  p->name, name);
    return true;
}

static bool drop_both(const struct pipeline *p, const char *before, struct err *e)
{
    struct run_servers servers = {0};
    struct pg *pg = NULL;
    bool ok = run_open_servers(&servers, p, true, e) && (pg = pg_acquire(&servers.pool, e)) &&
              drop_slots(p, before, pg, e) && drop_publication(p, pg, e);
    pg_release(&servers.pool, pg);
    run_close_servers(&servers);
    return ok;
}

/* ---- what is here ---- */

/* The slot that the state names, if it is another one than the script's, or the script polls now. A
 * state that cannot be read is removed all the same. */
static bool read_slot(const struct pipeline *p, char **slot, struct err *e)
{
    struct state_data d;
    struct err ignored;
    *slot = NULL;
    if (!state_file_read(p->state, &d, &ignored))
        return true;
    bool differs = d.slot && !(p->source.wal && strcmp(d.slot, p->source.slot) == 0);
    bool ok = !differs || text_set(slot, d.slot) || err_memory(e);
    state_data_free(&d);
    return ok;
}

static void warn_left(const struct pipeline *p, const char *before)
{
    if (p->source.wal)
        log_warn_with(
            LOG_FIELDS(log_text("slot", p->source.slot),
                       log_text("publication", p->source.publication)),
            "%s: slot '%s' and publication '%s' stay on the server, where the slot holds back "
            "the log until a run goes on: 'etl-engine state reset --drop-slot %s' drops both",
            p->name, p->source.slot, p->source.publication, p->script);
    if (before)
        log_warn_with(LOG_FIELDS(log_text("slot", before)),
                      "%s: slot '%s' of before stays on the server, and holds back its log: SELECT "
                      "pg_drop_replication_slot('%s')",
                      p->name, before, before);
}

static bool remove_files(const struct pipeline *p, struct state_file *s, struct err *e)
{
    char *prefix = journal_prefix(p->state);
    bool ok = prefix ? journal_remove(prefix, e) && state_file_remove(s, e) : err_memory(e);
    free(prefix);
    return ok;
}

bool state_reset(const struct pipeline *p, bool drop_slot, struct err *e)
{
    char *before = NULL;
    struct state_file *s = state_file_open(p->state, e);
    if (!s)
        return pipeline_at_state(e, p);
    bool ok = read_slot(p, &before, e) && (!drop_slot || drop_both(p, before, e)) &&
              remove_files(p, s, e);
    if (ok && !drop_slot)
        warn_left(p, before);
    free(before);
    state_file_close(s);
    return ok;
}
