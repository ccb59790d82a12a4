/* stop: the signals that end us, and every wait.
 *
 * Uses     nothing.
 * Threads  any. The handler notes and wakes, no more; the pipe is never read, so it wakes
 *          everybody.
 * Promise  no wait outlives a SIGINT or SIGTERM: each polls the pipe. The second signal ends the
 *          process at once.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct err;

/* Installs the handlers (SIGINT, SIGTERM; SIGPIPE is ignored). Once, from main, before any
 * thread. */
bool stop_init(struct err *e);

int stop_asked(void); /* the signal's number, or 0 */
/* What is left, and be it little, of the time in which what is under way may still end: `grace`
 * from when the stop was asked on. INT64_MAX: none was. */
int64_t stop_left_ms(int64_t grace_ms);
/* readable once a stop was asked: for poll, and curl's extra descriptors; -1 before stop_init */
int stop_fd(void);

/* Sleeps. False: a stop was asked, the sleep is cut short. */
bool stop_sleep(int64_t ms);

enum stop_wait { STOP_READY, STOP_TIMEOUT, STOP_ASKED };

/* Waits until fd is ready for `events` (POLLIN, POLLOUT) or in error, timeout_ms have passed (-1:
 * for ever), or a stop was asked. */
enum stop_wait stop_wait_fd(int fd, short events, int64_t timeout_ms);

/* From now on SIGHUP asks for a reload, rather than ending the process. */
bool stop_catch_reload(struct err *e);
bool stop_reload_asked(void); /* since the last call */

/* Sets ERR_STOPPED with the signal's name. Always returns false. */
bool stop_err(struct err *e);
