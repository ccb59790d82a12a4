#include "base/watchdog.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int64_t interval_us; /* read-only once threads have started; 0: nobody watches */
static _Atomic int64_t next_us;
static _Thread_local struct watchdog_task *mine;
/* guards the list, and `told` */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct watchdog_task *tasks;
static bool told;

/* A whole number above 0; 0: the variable is unset, or something else. */
static int64_t read_variable(const char *name)
{
    const char *text = getenv(name);
    char *end;
    errno = 0;
    long long n = text ? strtoll(text, &end, 10) : 0;
    return n > 0 && !errno && !*end ? n : 0;
}

void watchdog_init(void)
{
    int64_t pid = read_variable("WATCHDOG_PID");
    if (pid == 0 || pid == getpid()) /* else it was meant for our parent */
        interval_us = read_variable("WATCHDOG_USEC");
}

void watchdog_watch(void)
{
    enum { DEFAULT_US = 180 * 1000 * 1000 }; /* as WatchdogSec= of our unit */
    if (!interval_us)
        interval_us = DEFAULT_US;
}

void watchdog_begin(struct watchdog_task *task, const char *name)
{
    if (!interval_us)
        return;
    snprintf(task->name, sizeof task->name, "%s", name);
    atomic_store(&task->signed_us, clock_mono_us());
    mine = task;
    pthread_mutex_lock(&lock);
    task->next = tasks;
    tasks = task;
    pthread_mutex_unlock(&lock);
}

void watchdog_end(struct watchdog_task *task)
{
    if (!interval_us)
        return;
    mine = NULL;
    pthread_mutex_lock(&lock);
    struct watchdog_task **at = &tasks;
    while (*at && *at != task)
        at = &(*at)->next;
    if (*at)
        *at = task->next;
    pthread_mutex_unlock(&lock);
}

/* The thread that has not signed for half of the interval; NULL: none. */
static const struct watchdog_task *find_hanging(int64_t now)
{
    for (const struct watchdog_task *t = tasks; t; t = t->next) {
        int64_t signed_us = atomic_load(&t->signed_us);
        if (signed_us && now - signed_us > interval_us / 2)
            return t;
    }
    return NULL;
}

static void log_hanging(const struct watchdog_task *t, int64_t now)
{
    int64_t us = now - atomic_load(&t->signed_us);
    log_error_with(LOG_FIELDS(log_text("thread", t->name), log_real("seconds", (double)us / 1e6)),
                   "thread '%s' hangs: it has done nothing for %lld s; until it goes on, nobody is "
                   "told that the process works",
                   t->name, (long long)us / (1000 * 1000));
}

bool watchdog_works(char name[WATCHDOG_NAME])
{
    pthread_mutex_lock(&lock);
    const struct watchdog_task *hanging = interval_us ? find_hanging(clock_mono_us()) : NULL;
    snprintf(name, WATCHDOG_NAME, "%s", hanging ? hanging->name : "");
    pthread_mutex_unlock(&lock);
    return !hanging;
}

static void tell(int64_t now)
{
    pthread_mutex_lock(&lock);
    const struct watchdog_task *hanging = find_hanging(now);
    if (!hanging)
        notify_watchdog();
    else if (!told)
        log_hanging(hanging, now);
    told = hanging;
    pthread_mutex_unlock(&lock);
}

void watchdog_sign(void)
{
    if (!interval_us)
        return;
    int64_t now = clock_mono_us(), due = atomic_load(&next_us);
    if (mine)
        atomic_store(&mine->signed_us, now);
    if (now >= due && atomic_compare_exchange_strong(&next_us, &due, now + interval_us / 4))
        tell(now);
}

void watchdog_rest(void)
{
    if (interval_us && mine)
        atomic_store(&mine->signed_us, 0);
}

int64_t watchdog_nap_ms(int64_t ms)
{
    int64_t most = interval_us / (8 * 1000) + 1;
    return interval_us && (ms < 0 || ms > most) ? most : ms;
}
