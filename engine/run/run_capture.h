/* run_capture: capture from the write-ahead log: the publication, the slot, the journal, and the
 * thread between them, as long as a run needs them.
 *
 * Uses     run, run_state, capture_hub, run_vitals, vitals, source_capture, wal_receiver, wal_keys,
 *          feed_wal, journal, quiesce.
 * Threads  the main thread; wal_receiver is one of its own.
 * Promise  the slot is there before the first row is read, and its changes are received while a
 *          load is under way. What the log cannot tell any more, a sweep finds: whenever this
 *          module does not know that the slot continues where the state ends, a sweep is owed, and
 *          the log says why.
 *
 * The rule. The state holds a place in the journal, up to which all is in the index. The journal
 * has everything from there to its end, and its end names a position in the log; the slot has
 * everything from its confirmed position on. So nothing is missing if the slot's position is not
 * above the journal's, and both are of the same server. Where a pipeline never captured before, or
 * one of the three was lost, moved or belongs to another server, changes may be missing: then a
 * slot is made if there is none, and after that every row is compared.
 *
 * Pipelines of one process may have one slot (capture_hub.h): all of that holds for each of them
 * and its own journal. feed/wal_share.h has the rule by which the slot is confirmed.
 *
 * A sweep that is owed stands in the state (store/state.h) before any place in the journal passes
 * the reason for it. A slot that is past the journal stops being one once the journal names its
 * position: so the journal has a record of the gap (WAL_GAP). And what was committed before that
 * position is not read before it is visible: the rows of a gap are read once each transaction that
 * was open when it was found has ended.
 *
 * After a failover the server is the same if the new primary has all that the journal has, by the
 * rule in pg/pg_timeline.h: then the journal stays, and with a slot that was synchronised (failover
 * slots of PostgreSQL 17, Patroni's copies) nothing is missing. Otherwise the standby
 * was behind: what was indexed may never have happened, and every row is compared. A slot that was
 * not synchronised is missing, as any other.
 */
#pragma once
#include <stdbool.h>

struct err;
struct pipeline;
struct run;

/* Whether this run captures: the script says so, and the run reads and saves everything. */
bool run_captures(const struct run *r);

/* Makes publication and slot, if they do not exist; opens the journal; the thread receives from now
 * on. Does nothing if the run does not capture. ERR_USAGE: a privilege or a setting is missing,
 * with the SQL. Needs run_open, and the workers' queue. */
bool run_open_capture(struct run *r, struct err *e);
/* Ends the thread, after a last confirmation. Does nothing if it is not open. */
void run_close_capture(struct run *r);
/* Puts the place where the journal is read from into the state; after each run_bind_state. */
bool run_bind_capture(struct run *r, struct err *e);

/* A load begins, after run_bind_capture: it reads all that is committed by now, which the state's
 * time says from now on. */
bool run_begin_capture(struct run *r, struct err *e);

/* Gives the coordinator the feeds of the journal: on the first lane, and on the second one if there
 * are related tables. */
void run_capture_feeds(struct run *r);
/* The feeds look again, if they have come to the journal's end. */
void run_capture_again(struct run *r);
/* Delivers everything up to where the server's log was at the call. */
bool run_catch_up_capture(struct run *r, struct err *e);

/* Drops the slot, and removes the journal: nobody continues from them. The publication stays. */
bool run_drop_capture(struct run *r, struct err *e);

/* Warns, once, of the slot that is left if the script captured before, and polls now. */
void run_warn_left_capture(struct run *r);
/* "etl_movies_reindex": the slot that a reindex has while it lasts, "SLOT_movies_reindex" if others
 * may have the pipeline's slot, too; a long name is cut. Owned by the caller; NULL: no memory. */
char *run_reindex_slot(const struct pipeline *p);
