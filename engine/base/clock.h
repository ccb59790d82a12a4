/* clock: time, as whole microseconds.
 *
 * Uses     nothing.
 * Promise  durations come from the monotonic clock; the wall clock is only ever shown, or compared
 *          with a file's mtime.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum { CLOCK_TEXT = 80 };

int64_t clock_mono_us(void);   /* for durations and deadlines */
int64_t clock_thread_us(void); /* what the calling thread has worked so far */
int64_t clock_wall_us(void);   /* since the epoch */

/* "2021-06-16T20:14:09.221855Z" (UTC) into out, which holds CLOCK_TEXT bytes; returns out. Any
 * int64 is fine. */
char *clock_text(int64_t us, char out[CLOCK_TEXT]);

/* "350 ms", "4.2 s", "3 min 20 s", "2 h 5 min": a duration for people; returns out. */
char *clock_duration(int64_t us, char out[CLOCK_TEXT]);

/* Reads "2021-06-16", "2021-06-16T20:14:09.221855Z", "2021-06-16 20:14:09+03:00"; without a zone it
 * is UTC. */
bool clock_parse(const char *text, int64_t *us);
