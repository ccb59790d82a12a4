/* run_warn: what a run warns of: rows that it cannot see, sessions that delay it, documents that
 * may be out of date.
 *
 * Uses     run, source, tally, log.
 * Threads  one, the main thread.
 * Promise  nothing else depends on it: only a failing query ends the run.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;
struct pg_pool;
struct run;
struct run_script;
struct source;
struct source_report;

/* Warns of a session whose transaction has been open for longer than horizon_limit. */
void run_warn_horizon(const struct run_script *s, const struct source_report *report);
/* Warns, once, of tables that show no row because of row security; at_start: logs also where it may
 * hide some rows. Waits for PostgreSQL. */
bool run_report_hidden(struct run *r, bool at_start, struct err *e);
/* Rejects the rows whose key is NULL, if they are more than when it was called last: they are
 * counted, and logged. No feed but the load sees them. loaded: it has just rejected them itself.
 * Waits for PostgreSQL. */
bool run_reject_keyless(struct run *r, bool loaded, struct err *e);
/* Logs why polls of the table are slow, or miss some changes. standby: of the server. */
bool run_report_table(const struct source *s, struct pg_pool *pool, size_t table, bool standby,
                      struct err *e);
/* Warns if there is no state, but the index was loaded by this pipeline: perhaps the wrong
 * folder. */
void run_warn_lost_state(const struct run *r);
/* Warns if the load made no document, although the table has rows. */
bool run_warn_nothing_made(struct run *r, struct err *e);
/* Warns if documents in the index may have been made by an earlier version of the script. */
void run_warn_script(const struct run *r);
/* Warns, once, if the query returned several rows for one key. */
void run_warn_repeated(struct run *r);
