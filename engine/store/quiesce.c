#include "store/quiesce.h"

#include "base/clock.h"
#include "base/stop.h"
#include "store/state_file.h"

#include <fcntl.h>
#include <unistd.h>

/* Bytes of the lock file. The holder has a read lock on WORK, except while it pauses. The process
 * that asks takes a write lock on ASK, then waits for a write lock on WORK. Each process that waits
 * has a read lock on AWAIT. */
enum { ASK = 1 << 20, WORK, AWAIT };

enum { PAUSE_MS = 5 }; /* between two tries; these locks have no wait with a timeout */

static bool lock_byte(int fd, int byte, short type)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &l) == 0;
}

void quiesce_allow(struct state_file *f)
{
    lock_byte(state_file_lock(f), WORK, F_RDLCK);
}

/* Whether another process has a lock on the byte that excludes one of this type. */
static bool is_locked(int fd, int byte, short type)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

bool quiesce_is_asked(struct state_file *f)
{
    return is_locked(state_file_lock(f), ASK, F_RDLCK);
}

bool quiesce_is_awaited(struct state_file *f)
{
    return is_locked(state_file_lock(f), AWAIT, F_WRLCK);
}

int quiesce_await(const char *path)
{
    int fd = state_file_open_lock(path);
    if (fd >= 0)
        lock_byte(fd, AWAIT, F_RDLCK);
    return fd;
}

bool quiesce_is_followed(const char *path)
{
    int fd = state_file_open_lock(path);
    bool followed = fd >= 0 && is_locked(fd, WORK, F_WRLCK);
    quiesce_release(fd);
    return followed;
}

bool quiesce_pause(struct state_file *f)
{
    int fd = state_file_lock(f);
    bool on = lock_byte(fd, WORK, F_UNLCK);
    while (on && (quiesce_is_asked(f) || !lock_byte(fd, WORK, F_RDLCK)))
        on = stop_sleep(PAUSE_MS);
    return on;
}

int quiesce_ask(const char *path, int64_t timeout_ms, bool *paused)
{
    int64_t end = clock_mono_us() + timeout_ms * 1000;
    int fd = state_file_open_lock(path);
    *paused = false;
    bool on = fd >= 0 && lock_byte(fd, ASK, F_WRLCK);
    while (on && !(*paused = lock_byte(fd, WORK, F_WRLCK)))
        on = clock_mono_us() < end && stop_sleep(PAUSE_MS);
    return fd;
}

void quiesce_release(int request)
{
    if (request >= 0)
        close(request);
}
