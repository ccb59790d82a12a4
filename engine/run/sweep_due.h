/* sweep_due: when a run that follows sweeps next.
 *
 * Uses     nothing; the caller reads the clocks.
 *
 * The rule. An interval runs from the end of a sweep (or of the first load) to the beginning of the
 * next one. However long a sweep takes, or waits for a server, two are never back to back.
 *
 * Within a process the monotonic clock measures the interval, so that steps of the wall clock do
 * not matter. The next process knows only the state's `swept`: wall time, by the clock of the host
 * that wrote it. The time since then shortens its first interval. If there is no such time, or it
 * is in the future, a sweep is due at once, and saves a better time when it ends. So no saved time
 * delays a sweep for longer than an interval.
 *
 * A sweep that was interrupted (a stop, a crash) is due at once, and resumes after the last key
 * that it saved. Rows before that key may have changed since: the next sweep, an interval later,
 * sees them. After a reload of the script, or in another index, a sweep is due at once, from the
 * first row.
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
struct sweep_due sweep_due_after(int64_t swept_us, bool interrupted, int64_t wall_us,
                                 int64_t mono_us);
/* A sweep has just ended. */
struct sweep_due sweep_due_swept(int64_t mono_us);
/* every: seconds between two; 0: never. */
bool sweep_is_due(const struct sweep_due *d, double every, int64_t mono_us);
