/* state_move: sets a state to a time, as `state set` does.
 *
 * Uses     state, pipeline, clock, log.
 * Threads  any, each with a state of its own.
 */
#pragma once
#include <stdbool.h>

struct err;
struct pipeline;
struct state_data;

/* text: a time, or a number if the cursor is one. With capture from the log a sweep is owed
 * instead, which is logged. ERR_USAGE: it cannot be read. */
bool state_move(const struct pipeline *p, struct state_data *d, const char *text, struct err *e);
