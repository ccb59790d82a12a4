/* sweep_due: when an engine that follows sweeps next.
 *
 * Uses     nothing; the caller reads the clocks.
 *
 * The rule. An interval runs from the end of a sweep (or of the first load) to the beginning of the
 * next one: however long a sweep takes, or waits for a server, two are never back to back.
 *
 * Within a process the monotonic clock measures the interval, so a wall clock that steps matters in
 * neither direction. From one process to the next only the state's `swept` is left: wall time, by
 * the clock of whichever host wrote it. What has passed since then is taken off the first interval.
 * One in the future, or none, says nothing: a sweep is due at once, and notes a better time when it
 * ends. So no noted time keeps a sweep away for longer than an interval.
 *
 * A sweep that was broken off (a stop, a crash) is due at once, and goes on behind the last key
 * that it noted. Rows before that key may have changed since: the sweep after it, an interval
 * later, sees those. A script that was reloaded, or another index, makes a sweep due at once that
 * begins at the first row.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct sweep_due {
    bool at_once;
    /* clock_mono_us when the last one ended; may be negative: before the machine was started */
    int64_t swept_us;
};

/* swept_us: the state's, wall time; 0: never. */
struct sweep_due sweep_due_after(int64_t swept_us, bool broken_off, int64_t wall_us,
                                 int64_t mono_us);
/* A sweep has just ended. */
struct sweep_due sweep_due_swept(int64_t mono_us);
/* every: seconds between two; 0: never. */
bool sweep_is_due(const struct sweep_due *d, double every, int64_t mono_us);
