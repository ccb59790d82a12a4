/* arrival: whether all that was committed before a moment is in the index, judged by the state that
 * another process saves.
 *
 * Uses     ask, state_file, quiesce, source_capture, pg.
 * Threads  one, the main thread.
 * Promise  never true too early. What the state says is delivered is acknowledged by the search
 *          server, or a dead letter.
 *
 * A process that follows saves its state when it has delivered something. While somebody waits
 * (quiesce_await), it also saves how late it is: of each table that is polled, the server's clock
 * when the last whole pass began (checkpoint.whole_us); with capture from the log, the position
 * before which all is delivered (state_data.log_lsn). A pass that began after the moment reads what
 * was committed before it; so does a delivery up to a position that was read after it.
 *
 * What only a sweep finds is not waited for, unless a sweep is asked for: it has to begin after the
 * moment, too, by this machine's clock.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct ask;
struct err;

enum { ARRIVAL_WHY = 400 };

struct arrival {
    struct ask *ask; /* borrowed */
    bool sweep;      /* a sweep has to begin and end, too */
    int64_t server_us, wall_us;
    uint64_t lsn;
    int request;           /* that a process which follows tells how far it is; -1: none */
    char why[ARRIVAL_WHY]; /* what is missing, after a check */
};

/* The moment is now. Waits for PostgreSQL. sweep: see above; without a table that is polled or
 * captured, it is always so. */
bool arrival_begin(struct arrival *x, struct ask *a, bool sweep, struct err *e);
void arrival_end(struct arrival *x); /* safe on one that has not begun, if it is zeroed */

/* Whether a process follows this pipeline. */
bool arrival_is_followed(const struct ask *a);
/* Whether a change is ever found otherwise than by a sweep. */
bool arrival_has_feeds(const struct ask *a);

/* Reads the state. */
bool arrival_check(struct arrival *x, bool *arrived, struct err *e);
/* Checks until it is so, or timeout_us have passed (0: no limit). */
bool arrival_wait(struct arrival *x, int64_t timeout_us, bool *arrived, struct err *e);
