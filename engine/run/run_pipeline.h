/* run_pipeline: one pipeline, from opening it to its last save.
 *
 * Uses     run, run_open, run_execute, run_load, run_follow, run_alter, vitals.
 * Threads  one, the main thread; its workers are threads of their own.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct err;
struct run;

/* Opens the pipeline of the script at path, brings its index up to date, and with --follow keeps it
 * in sync until a stop is asked for (ERR_STOPPED) or an error is final. If a process that follows
 * has the state's lock, it is asked for --keys, --keys-from and --sweep instead. Fill r->options,
 * keys, terminal, started_us and servers.give_up_after before. The caller calls run_close
 * afterwards, also after a failure. */
bool run_pipeline(struct run *r, const char *path, struct err *e);
/* How many documents were rejected; to be called before run_close. */
uint64_t run_rejected(const struct run *r);
