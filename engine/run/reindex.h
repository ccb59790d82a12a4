/* reindex: builds a new index next to the one that serves, and swaps the alias.
 *
 * Uses     run, index, state, quiesce, deadletter.
 * Threads  one, the main thread; its workers are those of a run.
 * Promise  The old index serves until the new one has all its documents; the alias is swapped in
 *          one request. Nothing is lost, even if other processes write to the alias during the
 *          reindex. After a crash at any moment the next call continues, or removes what this one
 *          left.
 *
 * Why that is so stands in reindex.c.
 */
#pragma once
#include <stdbool.h>

struct err;

struct reindex_options {
    bool replace_index, allow_rejected, allow_deletes;
    long long keep, workers, give_up_after; /* indexes; threads; seconds, 0: never */
};

/* terminal: a progress line may be drawn on stderr. *rejected: the new index has rejected
 * documents, which is an error unless o->allow_rejected. */
bool reindex(const struct reindex_options *o, const char *script, bool terminal, bool *rejected,
             struct err *e);
