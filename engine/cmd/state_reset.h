/* state_reset: what "state reset" does: removes the state and the journal; with --drop-slot also
 * what the capture from the log has created on the server.
 *
 * Uses     state_file, journal, source_capture, run_servers, log.
 * Promise  the slot goes first: if it cannot be dropped, everything stays as it is. A slot that is
 *          not this pipeline's is left alone.
 */
#pragma once
#include <stdbool.h>

struct err;
struct pipeline;

bool state_reset(const struct pipeline *p, bool drop_slot, struct err *e);
