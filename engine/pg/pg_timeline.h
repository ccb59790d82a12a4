/* pg_timeline: whether a server's log continues another one's.
 *
 * Uses     nothing.
 * Threads  any; nothing is kept here.
 *
 * The rule. A cluster's log has a timeline, and a standby that is promoted begins another one, at
 * the position up to which it had replayed. What was read of the old primary's log below that
 * position happened on the new one, too, and the log continues there. What was read beyond it did
 * not: the standby was behind. Servers tell of it in a history, a line for each timeline that came
 * before theirs: "1<tab>0/5000060<tab>no recovery target specified".
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct pg_timeline {
    uint64_t system; /* the cluster's identifier */
    uint32_t id;
};

/* Reads the beginning of a server's name, "7712683974535949944-0000000A-16384". False: it is none
 * of those. */
bool pg_timeline_read(const char *server, struct pg_timeline *out);
/* history: of the server that answers now. Whether all below `lsn` of timeline `id` is in that
 * server's log. What cannot be read has nothing. */
bool pg_timeline_has(const char *history, uint32_t id, uint64_t lsn);
