/* run_capture_open: publication and slot are made, the journal is opened, and the thread and the
 * feeds begin. What the log cannot tell any more is found out here: see the rule in run_capture.h,
 * whose part this is (run_capture_internal.h).
 *
 * And for run_open: capture before a run can begin, while the search server is away. The log is
 * received into the journal, so that the server need not keep it.
 *
 * Uses     run, run_state, source_capture, wal_receiver, wal_keys, journal.
 * Threads  the main thread; wal_receiver is one of its own.
 * Promise  before the run, nothing is delivered, and nothing is made on the server. If the log does
 *          not continue where the state ends, nothing is received: run_open_capture then finds out
 *          why.
 */
#pragma once

struct run;

/* For a run that captures, again and again while that lasts: past journal_limit it is the server
 * that has to keep the log. Needs the state and the script. */
void run_capture_early(struct run *r);
/* Before run_open_capture. Does nothing if it is not open. */
void run_close_early_capture(struct run *r);
