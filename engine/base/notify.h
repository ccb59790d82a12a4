/* notify: tells the service manager how the process is doing, by systemd's protocol: a datagram to
 * the socket that NOTIFY_SOCKET names. (libsystemd's sd_notify does the same.)
 *
 * Uses     clock.
 * Threads  any.
 * Promise  without NOTIFY_SOCKET nothing happens. Nothing fails here, and nothing waits for longer
 *          than a second. errno is unchanged.
 */
#pragma once
#include <stdbool.h>

void notify_ready(void);     /* has started up, or has reloaded */
void notify_reloading(void); /* until the next notify_ready */
void notify_stopping(void);
void notify_watchdog(void); /* is alive: see watchdog.h */
/* One line for people, as `systemctl status` shows it; at most some 400 bytes. */
void notify_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* From now on, notify_status tells nothing: several speak, and one would hide the others. Before
 * any thread starts. */
void notify_several(void);
/* The status of all of them. */
void notify_whole_status(const char *text);
bool notify_hears(void); /* whether anybody listens */
