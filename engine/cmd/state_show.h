/* state_show: what "state show" prints: the state, and for a capture from the log its slot.
 *
 * Uses     state_file, journal, source_capture, run_servers.
 * Promise  changes nothing, takes no lock, and shows the state also if PostgreSQL does not answer.
 */
#pragma once
#include <stdbool.h>

struct err;
struct pipeline;

bool state_show(const struct pipeline *p, struct err *e);
