/* stop: the signals that end the process, and every wait.
 *
 * Uses     clock, err, watchdog.
 * Threads  any. The signal handler only sets a flag and writes to a pipe. The pipe is never read,
 *          so it wakes every wait.
 * Promise  SIGINT and SIGTERM end every wait, because each wait polls the pipe. The second signal
 *          ends the process at once. Who waits here gives watchdog its signs.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct err;

/* Installs the handlers of SIGINT and SIGTERM, and ignores SIGPIPE. Called once, from main, before
 * any thread starts. */
bool stop_init(struct err *e);

int stop_asked(void); /* the number of the signal that asked; 0: none has */
/* How long requests that are under way may still take: what is left of grace_ms since the stop was
 * asked, but always some time. INT64_MAX: no stop was asked. */
int64_t stop_left_ms(int64_t grace_ms);
/* A descriptor that is readable once a stop was asked, for poll and curl; -1 before stop_init. */
int stop_fd(void);

/* Sleeps. False: a stop was asked, which ends the sleep. */
bool stop_sleep(int64_t ms);

enum stop_wait { STOP_READY, STOP_TIMEOUT, STOP_ASKED };

/* Waits until fd is ready for `events` (POLLIN, POLLOUT) or in error, timeout_ms have passed (-1:
 * no limit), or a stop was asked. */
enum stop_wait stop_wait_fd(int fd, short events, int64_t timeout_ms);

/* From now on SIGHUP asks for a reload, and does not end the process. */
bool stop_catch_reload(struct err *e);
/* How many SIGHUPs have come. */
unsigned stop_reloads(void);

/* Sets ERR_STOPPED with the signal's name. Always returns false. */
bool stop_err(struct err *e);
