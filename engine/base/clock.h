/* clock: time, as whole microseconds.
 *
 * Uses     nothing.
 * Threads  any.
 * Promise  durations come from the monotonic clock; the wall clock is only shown, or compared with
 *          the times of files and servers.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum { CLOCK_TEXT = 80 }; /* bytes of a text; enough for any int64 */

int64_t clock_mono_us(void);   /* for durations and deadlines; never steps */
int64_t clock_thread_us(void); /* the CPU time of the calling thread */
int64_t clock_wall_us(void);   /* since 1970 */

/* Writes microseconds since 1970 as "2021-06-16T20:14:09.221855Z" (UTC) to out; returns out. */
char *clock_text(int64_t us, char out[CLOCK_TEXT]);

/* Writes a duration for people: "350 ms", "4.2 s", "3 min 20 s", "2 h 5 min"; returns out. */
char *clock_duration(int64_t us, char out[CLOCK_TEXT]);

/* Reads "2021-06-16", "2021-06-16T20:14:09.221855Z", "2021-06-16 20:14:09+03:00"; without a zone it
 * is UTC. */
bool clock_parse(const char *text, int64_t *us);

/* Whether a time lies in the future by the clock of any server, and in any zone: a day ahead of
 * ours. */
bool clock_is_ahead(int64_t us);
