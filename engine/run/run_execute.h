/* run_execute: one run from its first hook to its summary.
 *
 * Uses     run, run_workers, run_warn, script, log.
 * Threads  one, the main thread.
 */
#pragma once
#include <stdbool.h>

struct counts;
struct err;
struct run;

/* Calls before_run, starts the workers, calls work, which has to stop them, logs a summary, and
 * calls after_run. */
bool run_execute(struct run *r, bool (*work)(void *arg, struct err *e), void *arg, struct err *e);
/* The line that says what was done. */
void run_log_summary(const struct run *r, const struct counts *sums);
