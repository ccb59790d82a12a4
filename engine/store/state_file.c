#include "store/state_file.h"

#include "base/atomic_file.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "store/state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_FILE = 1 << 20,   /* bytes; a state has less than 1 KiB, unless its keys are long */
    MAX_MTIME_ONLY = 256, /* bytes; a longer text without JSON is taken for a damaged state */
};

struct state_file {
    struct atomic_file file;
    int lock; /* the lock file's descriptor, locked with flock; -1: not open */
};

/* ---- the lock ---- */

static int open_lock(const char *path, struct err *e)
{
    char *lock;
    if (asprintf(&lock, "%s.lock", path) < 0) {
        err_memory(e);
        return -1;
    }
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        file_error(e, "open", lock);
    free(lock);
    return fd;
}

static bool lock_held(int fd, const char *path, struct err *e)
{
    char pid[24] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? n : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    err_set(e, ERR_FINAL, "cannot use state file '%s': another run is using it (process %s)", path,
            *pid ? pid : "unknown");
    e->fault = ERR_FAULT_HELD;
    return err_hint(e,
                    "wait for it to end, or stop it (a run with --follow does not end by itself); "
                    "another pipeline has a state file of its own");
}

static bool take_lock(struct state_file *f, struct err *e)
{
    f->lock = open_lock(f->file.path, e);
    if (f->lock < 0)
        return false;
    if (flock(f->lock, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? lock_held(f->lock, f->file.path, e)
                                    : file_error(e, "lock state file", f->file.path);
    /* Only other processes' messages need the process id: a full disk does not matter here. */
    if (ftruncate(f->lock, 0) == 0)
        dprintf(f->lock, "%ld\n", (long)getpid());
    return true;
}

struct state_file *state_file_open(const char *path, struct err *e)
{
    struct state_file *f = calloc(1, sizeof *f);
    if (!f) {
        err_memory(e);
        return NULL;
    }
    f->lock = -1;
    if (atomic_file_prepare(&f->file, path, "state file", e) && take_lock(f, e))
        return f;
    state_file_close(f);
    return NULL;
}

void state_file_close(struct state_file *f)
{
    if (!f)
        return;
    if (f->lock >= 0)
        close(f->lock);
    atomic_file_free(&f->file);
    free(f);
}

int state_file_lock(const struct state_file *f)
{
    assert(f->lock >= 0);
    return f->lock;
}

int state_file_open_lock(const char *path)
{
    struct err e;
    char *real = atomic_file_real_path(path);
    int fd = real ? open_lock(real, &e) : -1;
    free(real);
    return fd;
}

/* ---- reading ---- */

static bool read_file(const char *path, struct buf *text, struct stat *info, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_error(e, "open state file", path);
    bool known = fstat(fd, info) == 0, is_file = known && S_ISREG(info->st_mode);
    enum file_end end = is_file ? file_read(fd, text) : FILE_ERROR;
    if (known && !is_file)
        err_set(e, ERR_USAGE, "cannot use state file '%s': not a regular file", path);
    else if (end == FILE_TOO_LARGE)
        err_set(e, ERR_FINAL, "cannot read state file '%s': larger than %d bytes", path, MAX_FILE);
    else if (end == FILE_NO_MEMORY)
        err_memory(e);
    else if (end == FILE_ERROR)
        file_error(e, "read state file", path);
    close(fd);
    return end == FILE_COMPLETE;
}

/* Whether the text cannot be a damaged state: it is short, and has nothing of JSON. */
static bool has_no_json(const struct buf *text)
{
    if (text->len > MAX_MTIME_ONLY)
        return false;
    for (size_t i = 0; i < text->len; i++)
        if (strchr("{}[]\"\x7f", text->data[i])) /* finds the zero byte, too */
            return false;
    return true;
}

/* Moves a table back to `to`. A rewind to a position still lower is kept. */
static bool move_back(struct checkpoint *c, const struct position *to)
{
    if (!c->at.has_us || c->at.us <= to->us)
        return true;
    struct window rewind = {0};
    if (c->rewind.fence.sessions && (!c->rewind.from.has_us || c->rewind.from.us < to->us)) {
        rewind = c->rewind;
        c->rewind = (struct window){0};
    }
    bool ok = checkpoint_begin(c, to);
    c->rewind = rewind;
    return ok;
}

static bool go_back(struct state_data *d, int64_t us, const char *path, struct err *e)
{
    char text[CLOCK_TEXT], was[CLOCK_TEXT];
    if (!d->mtime_only) {
        assert(d->n_tables > 0);
        log_info_with(LOG_FIELDS(log_text("path", path), log_text("since", clock_text(us, text))),
                      "state file '%s' was touched: going back from %s to %s", path,
                      clock_text(d->tables[0].checkpoint.at.us, was), clock_text(us, text));
    }
    bool ok = position_set_time(&d->mtime, us);
    for (size_t i = 0; ok && i < d->n_tables; i++) {
        ok = move_back(&d->tables[i].checkpoint, &d->mtime);
        /* the log before it is gone: a capture sweeps */
        d->tables[i].checkpoint.journal = (struct journal_position){0};
    }
    return ok || err_memory(e);
}

static bool compare_mtime(const char *path, const struct stat *info, struct state_data *d,
                          struct err *e)
{
    int64_t us = (int64_t)info->st_mtim.tv_sec * 1000000 + info->st_mtim.tv_nsec / 1000;
    const struct position *root = d->n_tables ? &d->tables[0].checkpoint.at : NULL;
    char text[CLOCK_TEXT], other[CLOCK_TEXT];
    if (d->mtime_only)
        return go_back(d, us, path, e);
    if (d->phase != STATE_FOLLOWING || !root || !root->has_us || us == root->us)
        return true;
    if (us < root->us)
        return go_back(d, us, path, e);
    log_warn_with(
        LOG_FIELDS(log_text("path", path), log_text("since", clock_text(root->us, other))),
        "state file '%s' has a later time (%s) than the position in it (%s); using the position",
        path, clock_text(us, text), clock_text(root->us, other));
    return true;
}

static bool parse(const struct buf *text, const char *path, struct state_data *d, struct err *e)
{
    if (!has_no_json(text))
        return state_parse(d, text->data, text->len, e) ||
               err_wrap(e, "cannot read state file '%s'", path);
    d->mtime_only = true;
    d->phase = STATE_FOLLOWING;
    return true;
}

bool state_file_read(const char *path, struct state_data *d, struct err *e)
{
    *d = (struct state_data){0};
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return true;
    struct buf text;
    struct stat info;
    buf_init(&text, MAX_FILE);
    bool ok = read_file(path, &text, &info, e) && parse(&text, path, d, e) &&
              compare_mtime(path, &info, d, e);
    buf_free(&text);
    if (!ok)
        state_data_free(d);
    return ok;
}

/* ---- writing ---- */

/* The mtime of a file in this state: see the top of state_file.h. */
static void set_times(const struct state_data *d, struct timespec times[2])
{
    const struct position *root = d->mtime_only ? &d->mtime
                                  : d->n_tables ? &d->tables[0].checkpoint.at
                                                : NULL;
    int64_t us = d->phase == STATE_FOLLOWING && root && root->has_us ? root->us : 0;
    int64_t s = us / 1000000, rest = us % 1000000;
    if (rest < 0) {
        rest += 1000000;
        s--;
    }
    times[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
    times[1] = (struct timespec){.tv_sec = (time_t)s, .tv_nsec = rest * 1000};
}

static bool replace_file(const struct atomic_file *f, const struct buf *text,
                         const struct state_data *d, struct err *e)
{
    int fd = atomic_file_begin(f, e);
    if (fd < 0)
        return false;
    struct timespec times[2];
    set_times(d, times);
    bool ok = file_write(fd, text->data, text->len, f->temporary, e);
    if (ok && futimens(fd, times) != 0)
        ok = file_error(e, "write", f->temporary);
    return atomic_file_end(f, fd, ok, e);
}

bool state_file_save(struct state_file *f, const struct state_data *d, struct err *e)
{
    assert(d->phase != STATE_NEW); /* or it would be read back as following */
    struct buf text;
    buf_init(&text, MAX_FILE);
    if (!d->mtime_only)
        state_write(&text, d);
    bool ok = !text.failed || err_memory(e);
    ok = ok && replace_file(&f->file, &text, d, e);
    buf_free(&text);
    return ok || err_wrap(e, "state not saved");
}

bool state_file_remove(struct state_file *f, struct err *e)
{
    return atomic_file_remove(&f->file, e);
}
