#include "base/stop.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static atomic_int asked;
static _Atomic int64_t asked_us; /* clock_mono_us */
static int wake[2] = {-1, -1};

static void on_stop(int sig)
{
    int saved = errno;
    int64_t never = 0;
    atomic_compare_exchange_strong(&asked_us, &never, clock_mono_us());
    if (atomic_exchange(&asked, sig) != 0 || write(wake[1], "", 1) < 0) /* wakes all */
        _exit(128 + sig);                                               /* the second signal */
    errno = saved;
}

static bool catch (int sig, void (*handler)(int), struct err *e)
{
    struct sigaction action = {.sa_handler = handler,
                               .sa_flags = SA_RESTART}; /* poll is interrupted all the same */
    sigemptyset(&action.sa_mask);
    if (sigaction(sig, &action, NULL) < 0)
        return err_set(e, ERR_FINAL, "cannot catch signal %d: %s", sig, strerror(errno));
    return true;
}

bool stop_init(struct err *e)
{
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_set(e, ERR_FINAL, "cannot create a pipe: %s", strerror(errno));
    return catch (SIGPIPE, SIG_IGN, e) && catch (SIGINT, on_stop, e) && catch (SIGTERM, on_stop, e);
}

static atomic_uint reloads;

static void on_reload(int sig)
{
    (void)sig;
    atomic_fetch_add(&reloads, 1);
}

bool stop_catch_reload(struct err *e)
{
    return catch (SIGHUP, on_reload, e);
}

unsigned stop_reloads(void)
{
    return atomic_load(&reloads);
}

int stop_asked(void)
{
    return atomic_load(&asked);
}

int64_t stop_left_ms(int64_t grace_ms)
{
    enum { LEAST_MS = 100 }; /* for requests that start late; a healthy server is faster */
    if (!stop_asked())
        return INT64_MAX;
    int64_t left = grace_ms - (clock_mono_us() - atomic_load(&asked_us)) / 1000;
    return left > LEAST_MS ? left : LEAST_MS;
}

int stop_fd(void)
{
    return wake[0];
}

bool stop_sleep(int64_t ms)
{
    return stop_wait_fd(-1, 0, ms < 0 ? 0 : ms) != STOP_ASKED;
}

/* The monotonic time at which a wait ends; INT64_MAX: never. */
static int64_t deadline(int64_t timeout_ms)
{
    int64_t now = clock_mono_us();
    if (timeout_ms < 0 || timeout_ms > (INT64_MAX - now) / 1000)
        return INT64_MAX;
    return now + timeout_ms * 1000;
}

/* For poll: rounded up, to avoid a busy loop in the last part of a millisecond. */
static int ms_until(int64_t end)
{
    int64_t us = end == INT64_MAX ? -1 : end - clock_mono_us();
    if (end != INT64_MAX && us <= 0)
        return 0;
    int64_t ms = watchdog_nap_ms(us < 0 ? -1 : (us - 1) / 1000 + 1);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

enum stop_wait stop_wait_fd(int fd, short events, int64_t timeout_ms)
{
    int64_t end = deadline(timeout_ms);
    for (;;) {
        watchdog_sign();
        struct pollfd fds[2] = {{.fd = wake[0], .events = POLLIN}, {.fd = fd, .events = events}};
        int n = poll(fds, 2, ms_until(end)); /* ignores an fd below 0 */
        if (stop_asked())
            return STOP_ASKED;
        if (n > 0 || (n < 0 && errno != EINTR))
            return STOP_READY;
        if (end != INT64_MAX && clock_mono_us() >= end)
            return STOP_TIMEOUT;
    }
}

bool stop_err(struct err *e)
{
    int sig = stop_asked();
    return err_set(e, ERR_STOPPED, "stopped%s",
                   sig == SIGINT    ? " by SIGINT"
                   : sig == SIGTERM ? " by SIGTERM"
                                    : "");
}
