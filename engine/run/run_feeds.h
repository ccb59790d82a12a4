/* run_feeds: the feeds of changes: one for each table with a cursor, on the table's lane; or those
 * of the capture from the log.
 *
 * Uses     run, run_state, run_capture, run_warn, feed, coordinator, quiesce.
 * Threads  one, the main thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;
struct feed;
struct run;
struct source_report;

struct run_feeds {
    struct feed **list; /* owned, each; NULL: the table has no cursor */
    size_t n;           /* tables */
};

/* Opens the feeds at the state's checkpoints, and gives them to the coordinator; see feed_poll.
 * Waits for PostgreSQL. to_the_limit: up to this moment only. A dry run prints all changes of a
 * table before those of the next one. On failure, too, run_feeds_close. */
bool run_feeds_open(struct run_feeds *f, struct run *r, bool to_the_limit, struct err *e);
/* Starts another poll for each feed that has reached its end. Where another process waits for this
 * one (quiesce_await), the state tells how far each poll has come, even if it finds nothing. */
void run_feeds_poll_again(struct run_feeds *f, struct run *r);
/* What the last poll saw of other sessions, borrowed; NULL: no table is polled. */
const struct source_report *run_feeds_report(const struct run_feeds *f);
/* How often a poll was answered by another PostgreSQL server than the one before it. */
unsigned run_feeds_moved(const struct run_feeds *f);
/* Takes all feeds from the coordinator, and frees these; safe on a zeroed struct. */
void run_feeds_close(struct run_feeds *f, struct run *r);
