#include "ask/explain.h"

#include "store/deadletter.h"

#include <stddef.h>

/* 2001: lower versions are counts, as a server issues them for a program that gives none. */
static const int64_t FIRST_TIME = 1000LL * 1000 * 1000 * 1000 * 1000;

const char *explain_kind(enum explain_kind kind)
{
    static const char *const names[EXPLAIN_KINDS] = {"same", "missing", "orphaned", "different",
                                                     "failed"};
    return names[kind];
}

bool explain_is_ours(int64_t version, int64_t now)
{
    return version >= FIRST_TIME && version <= now;
}

/* What a process that follows would have delivered, or what waits for the next run. */
static enum explain_reason undelivered(const struct explain *x, enum explain_kind kind)
{
    if (x->followed && x->behind)
        return EXPLAIN_BEHIND;
    if (!x->followed && x->loading && kind == EXPLAIN_MISSING)
        return EXPLAIN_LOADING;
    if (x->drops && kind != EXPLAIN_ORPHANED)
        return EXPLAIN_DROPPED;
    return x->followed ? EXPLAIN_UNSEEN : EXPLAIN_PENDING;
}

enum explain_reason explain_reason(const struct explain *x, enum explain_kind kind,
                                   const struct worker_pair *pair)
{
    if (kind == EXPLAIN_SAME)
        return EXPLAIN_NOTHING;
    if (kind == EXPLAIN_FAILED)
        return EXPLAIN_ERROR;
    if (pair->routed)
        return EXPLAIN_ROUTED;
    if (x->dead && deadletters_find(x->dead, pair->key))
        return EXPLAIN_REJECTED;
    if (pair->found && (pair->no_rows || !explain_is_ours(pair->held_version, pair->made_version)))
        return EXPLAIN_FOREIGN;
    if (kind == EXPLAIN_DIFFERENT && x->is_older_script)
        return EXPLAIN_SCRIPT;
    if (kind == EXPLAIN_ORPHANED && x->followed && !x->wal)
        return EXPLAIN_DELETED;
    return undelivered(x, kind);
}

const char *explain_name(enum explain_reason reason)
{
    static const char *const names[EXPLAIN_REASONS] = {
        [EXPLAIN_NOTHING] = "none",     [EXPLAIN_REJECTED] = "rejected",
        [EXPLAIN_ERROR] = "error",      [EXPLAIN_FOREIGN] = "foreign",
        [EXPLAIN_SCRIPT] = "script",    [EXPLAIN_PENDING] = "pending",
        [EXPLAIN_BEHIND] = "behind",    [EXPLAIN_DELETED] = "deleted",
        [EXPLAIN_UNSEEN] = "unnoticed", [EXPLAIN_ROUTED] = "routed",
        [EXPLAIN_DROPPED] = "dropped",  [EXPLAIN_LOADING] = "loading"};
    return names[reason];
}

const char *explain_text(const struct explain *x, enum explain_reason reason)
{
    static const char *const texts[EXPLAIN_REASONS] = {
        [EXPLAIN_NOTHING] = "",
        [EXPLAIN_REJECTED] = "rejected: it is among the dead letters",
        [EXPLAIN_ERROR] = "the document cannot be made of its row",
        [EXPLAIN_FOREIGN] = "another program has written the document",
        [EXPLAIN_SCRIPT] = "made by another version of the script",
        [EXPLAIN_PENDING] = "changed since the last run, or not noticed by it; no process follows",
        [EXPLAIN_BEHIND] = "the process that follows has not come so far",
        [EXPLAIN_DELETED] = "its row is gone: the next sweep deletes the document",
        [EXPLAIN_UNSEEN] = ("not noticed: the row changed without its cursor, or another program "
                            "changed the document"),
        [EXPLAIN_ROUTED] =
            "a copy has a _routing that the script did not choose, perhaps in another shard",
        [EXPLAIN_DROPPED] = "",
        [EXPLAIN_LOADING] = "not loaded yet: the load was broken off, and the next run goes on"};
    if (reason == EXPLAIN_DROPPED)
        return x->drops;
    if (reason == EXPLAIN_UNSEEN && x->wal)
        return "not noticed: the log did not tell, or another program changed the document";
    return texts[reason];
}
