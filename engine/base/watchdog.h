/* watchdog: tells the service manager that the process works, for as long as each thread that takes
 * part does. Without a sign within WATCHDOG_USEC (systemd's WatchdogSec=) it restarts the process.
 *
 * Uses     clock, log, notify.
 * Threads  any.
 * Promise  a thread that hangs is not covered up by the others. Waiting for a server is not
 *          hanging: every wait that a signal ends gives signs, too. Without WATCHDOG_USEC
 *          and watchdog_watch nothing happens.
 *
 *     struct watchdog_task task;
 *     watchdog_begin(&task, "w1");
 *     while (work())
 *         watchdog_sign();
 *     watchdog_end(&task);
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { WATCHDOG_NAME = 16 };

struct watchdog_task {
    char name[WATCHDOG_NAME];  /* in the log */
    _Atomic int64_t signed_us; /* clock_mono_us; 0: it rests */
    struct watchdog_task *next;
};

/* Reads WATCHDOG_USEC and WATCHDOG_PID. Called once, from main, before any thread starts. */
void watchdog_init(void);
/* For somebody else who asks whether the process works, where no service manager does: from now on
 * tasks have to sign within three minutes. Called before any thread starts. */
void watchdog_watch(void);
/* Whether every thread that takes part works; if not, name is that of one that hangs. */
bool watchdog_works(char name[WATCHDOG_NAME]);
/* From now on the calling thread has to sign. The task is the caller's, and stays where it is. */
void watchdog_begin(struct watchdog_task *task, const char *name);
void watchdog_end(struct watchdog_task *task);
/* The calling thread, whether it has a task or not, is alive. Cheap: call it often. */
void watchdog_sign(void);
/* The calling thread waits for another one that has a task: no sign is due until its next one. */
void watchdog_rest(void);
/* The longest wait without a sign, in milliseconds: ms, or less. ms: -1 has no limit. */
int64_t watchdog_nap_ms(int64_t ms);
