/* reindex: a new index beside the one that serves, and its alias swapped.
 *
 * Uses     run, index, state, deadletter.
 * Promise  whatever happens, the old index serves until the new one has all that it has; the next
 *          call goes on where this one ended, or clears away what it left. Nothing is lost, whoever
 *          else writes meanwhile.
 *
 * The new index, "movies-20261124-133005", is loaded as a first run loads: by a pipeline of its
 * own, whose state is STATE.reindex beside the script's STATE, in the same format. That state names
 * the index before it is created, so that none is ever left behind unknown. Then:
 *
 *     caught up   by polls, from the state's marks
 *     checked     by a sweep, which compares every row with the new index, and every id in it with
 *                 the rows
 *     noted       in the new index's _meta: whose place it takes (formers)
 *     swapped     in one request: at no moment does the alias stand for both, or for none
 *     handed over its state becomes STATE
 *
 * Why nothing is lost. STATE.reindex is to the new index what STATE is to the old one: all that was
 * committed below its marks is in there. So whoever writes to the alias may go on from these marks
 * once it stands for the new index, and misses nothing, wherever requests of the time before the
 * swap have ended up: their rows had been committed by then.
 *
 *   Nobody holds STATE's lock: we take it before the swap and put our state in its place after it.
 *   If we die between the two, the next run finds an index that is not the one of STATE, but names
 *   that one among its formers, and STATE.reindex beside it: run_adopt goes on from its marks.
 *
 *   Somebody holds it (--follow, or a run): we do without. One that follows is asked to hold still
 *   while we
 * look for changes for the last time, and swap: then no request is under way, and no search finds
 * less in the new index than it found in the old one a moment before. Afterwards it looks at the
 * index at once, finds the
 *   former, adopts, reads the script anew (this index was made by the present one) and sweeps,
 *   because rows
 * that only a sweep finds may have been deleted from the old index alone. One that does not hold
 * still in time, or a plain run, finds the same a little later. What it wrote through the alias to
 * the old index before the swap, even if the answer came after it, was committed before: we poll
 * once more after the swap, and only then remove STATE.reindex. So either the adopter finds that
 * file and goes on from its marks, or our last poll has brought all that.
 *
 *   A late writer, ours or the other one, has fetched its rows before: its versions are lower, and
 *   lose.
 *
 * An index whose state is older by several reindexes adopts likewise: formers of formers are kept,
 * 16 of them.
 */
#pragma once
#include <stdbool.h>

struct err;

struct reindex_options {
    bool replace_index, allow_rejected, allow_deletes;
    long long keep, workers, give_up_after;
};

/* *rejected: documents were (which is why it failed, unless it did not). */
bool reindex(const struct reindex_options *o, const char *script, bool terminal, bool *rejected,
             struct err *e);
