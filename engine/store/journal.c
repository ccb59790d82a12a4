#include "store/journal.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum {
    SEGMENT = 16 << 20, /* bytes; a new one begins after the record that reaches it */
    CONTENT_MAX = JOURNAL_RECORD_MAX + 64,
};

struct header {
    uint32_t len, crc; /* of the content */
};

/* The content: this, the label, the keys. */
struct fixed {
    uint64_t xid, lsn;
    int64_t commit_us;
    uint32_t kind, label_len, n, keys_len;
};

struct journal {
    char *prefix; /* owned */
    int held;     /* the file that says that a process has it open, locked; -1: not open */
    pthread_mutex_t lock;
    /* Who appends. */
    int to;                        /* the last segment; -1: none is open */
    struct journal_position wrote; /* under the lock: what the reader may read */
    uint64_t lsn;
    struct buf out;
    /* Who reads. */
    int from;                     /* the segment of `read`; -1: none is open */
    struct journal_position read; /* the next record */
    struct buf in;
    struct journal_position released; /* under the lock */
    uint64_t total;                   /* bytes of all segments; under the lock */
};

char *journal_prefix(const char *state)
{
    char *prefix;
    return asprintf(&prefix, "%s.journal", state) < 0 ? NULL : prefix;
}

/* ---- segments ---- */

static char *segment_path(const char *prefix, uint64_t segment)
{
    char *path;
    return asprintf(&path, "%s.%08" PRIu64, prefix, segment) < 0 ? NULL : path;
}

static int open_segment(const char *prefix, uint64_t segment, int flags, struct err *e)
{
    char *path = segment_path(prefix, segment);
    int fd = path ? open(path, flags | O_CLOEXEC, 0600) : -1;
    if (!path)
        err_memory(e);
    else if (fd < 0)
        file_error(e, "open", path);
    free(path);
    return fd;
}

/* *size: its bytes, 0 if it does not exist. */
static bool remove_segment(const char *prefix, uint64_t segment, uint64_t *size, struct err *e)
{
    struct stat info;
    char *path = segment_path(prefix, segment);
    if (!path)
        return err_memory(e);
    *size = stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
    bool ok = unlink(path) == 0 || errno == ENOENT || file_error(e, "remove", path);
    free(path);
    return ok;
}

static bool add_size(const char *prefix, uint64_t segment, uint64_t *total, struct err *e)
{
    struct stat info;
    char *path = segment_path(prefix, segment);
    if (!path)
        return err_memory(e);
    bool ok = stat(path, &info) == 0 || file_error(e, "read", path);
    *total += ok ? (uint64_t)info.st_size : 0;
    free(path);
    return ok;
}

static bool sync_folder(const char *prefix, struct err *e)
{
    char *folder = file_folder(prefix);
    bool ok = folder ? file_sync_folder(folder, e) : err_memory(e);
    free(folder);
    return ok;
}

/* The number in a segment's name; 0: it is no segment's. */
static uint64_t segment_of(const char *name, const char *base)
{
    size_t len = strlen(base);
    if (strncmp(name, base, len) != 0 || name[len] != '.')
        return 0;
    const char *digits = name + len + 1;
    size_t n = strspn(digits, "0123456789");
    return n >= 8 && n < 20 && !digits[n] ? strtoull(digits, NULL, 10) : 0;
}

/* Calls visit for each segment, in any order. */
static bool each_segment(const char *prefix, bool (*visit)(uint64_t, void *, struct err *),
                         void *arg, struct err *e)
{
    const char *slash = strrchr(prefix, '/'), *base = slash ? slash + 1 : prefix;
    char *folder = file_folder(prefix);
    if (!folder)
        return err_memory(e);
    DIR *dir = opendir(folder);
    bool ok = dir || file_error(e, "read folder", folder);
    for (struct dirent *entry; ok && (entry = readdir(dir));) {
        uint64_t segment = segment_of(entry->d_name, base);
        ok = segment == 0 || visit(segment, arg, e);
    }
    if (dir)
        closedir(dir);
    free(folder);
    return ok;
}

struct range {
    const char *prefix;
    uint64_t first, last, below;
};

static bool widen(uint64_t segment, void *arg, struct err *e)
{
    struct range *r = arg;
    uint64_t size;
    if (segment < r->below)
        return remove_segment(r->prefix, segment, &size, e);
    r->first = r->first == 0 || segment < r->first ? segment : r->first;
    r->last = segment > r->last ? segment : r->last;
    return true;
}

static bool remove_one(uint64_t segment, void *arg, struct err *e)
{
    uint64_t size;
    return remove_segment(arg, segment, &size, e);
}

/* ---- one process at a time ---- */

static char *lock_path(const char *prefix)
{
    char *path;
    return asprintf(&path, "%s-lock", prefix) < 0 ? NULL : path;
}

static void lock_failed(const char *prefix, const char *path, struct err *e)
{
    if (errno != EWOULDBLOCK) {
        file_error(e, "lock", path);
        return;
    }
    err_set(e, ERR_FINAL, "cannot use journal '%s': another process receives into it", prefix);
    err_hint(e, "stop the process that follows this pipeline");
}

/* Locks a file of its own, as segments come and go. Its descriptor, which closes it; -1: e says
 * why. */
static int hold(const char *prefix, struct err *e)
{
    char *path = lock_path(prefix);
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    bool ok = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!path)
        err_memory(e);
    else if (!ok)
        lock_failed(prefix, path, e);
    free(path);
    if (!ok && fd >= 0)
        close(fd);
    return ok ? fd : -1;
}

bool journal_remove(const char *prefix, struct err *e)
{
    int held = hold(prefix, e);
    if (held < 0)
        return false;
    char *path = lock_path(prefix);
    bool ok = (path || err_memory(e)) && each_segment(prefix, remove_one, (char *)prefix, e) &&
              (unlink(path) == 0 || file_error(e, "remove", path)) && sync_folder(prefix, e);
    free(path);
    close(held);
    return ok;
}

/* ---- how much waits ---- */

struct waiting {
    const char *prefix;
    uint64_t segment, bytes;
};

static bool add_waiting(uint64_t segment, void *arg, struct err *e)
{
    struct waiting *w = arg;
    struct stat info;
    char *path = segment_path(w->prefix, segment);
    if (!path)
        return err_memory(e);
    if (segment >= w->segment && stat(path, &info) == 0) /* else it was removed meanwhile */
        w->bytes += (uint64_t)info.st_size;
    free(path);
    return true;
}

bool journal_waiting(const char *prefix, struct journal_position from, uint64_t *bytes,
                     struct err *e)
{
    struct waiting w = {.prefix = prefix, .segment = from.segment};
    bool ok = each_segment(prefix, add_waiting, &w, e);
    *bytes = w.bytes > from.offset ? w.bytes - from.offset : 0;
    return ok;
}

/* ---- records ---- */

static bool damaged(const struct journal *j, struct err *e)
{
    err_set(e, ERR_FINAL, "cannot read '%s.%08" PRIu64 "': damaged at byte %" PRIu64, j->prefix,
            j->read.segment, j->read.offset);
    return err_hint(e, "its keys are lost: the next sweep finds their changes");
}

/* Fills `in` with the n bytes at `offset`. *got: fewer at the end of the file. */
static bool read_at(struct journal *j, uint64_t offset, size_t n, size_t *got, struct err *e)
{
    buf_clear(&j->in);
    *got = 0;
    if (!buf_reserve(&j->in, n))
        return err_memory(e);
    while (*got < n) {
        ssize_t k = pread(j->from, j->in.data + *got, n - *got, (off_t)(offset + *got));
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return file_error(e, "read", j->prefix);
        if (k == 0)
            break;
        *got += (size_t)k;
    }
    j->in.len = *got;
    return true;
}

static bool is_whole(const char *content, size_t len)
{
    struct fixed f;
    if (len < sizeof f)
        return false;
    memcpy(&f, content, sizeof f);
    const char *keys = content + sizeof f + f.label_len;
    if (f.label_len == 0 || (uint64_t)sizeof f + f.label_len + f.keys_len != len ||
        keys[-1] != '\0' || (f.keys_len > 0 && keys[f.keys_len - 1] != '\0'))
        return false;
    size_t n = 0;
    for (size_t i = 0; i < f.keys_len; i++)
        n += keys[i] == '\0';
    return n == f.n;
}

enum outcome { RECORD, END, DAMAGE, FAILED };

/* Reads the record at j->read into `in`: its content alone. */
static enum outcome read_record(struct journal *j, struct err *e)
{
    struct header h;
    size_t got;
    if (!read_at(j, j->read.offset, sizeof h, &got, e))
        return FAILED;
    if (got == 0)
        return END;
    if (got < sizeof h)
        return DAMAGE;
    memcpy(&h, j->in.data, sizeof h);
    if (h.len > CONTENT_MAX)
        return DAMAGE;
    if (!read_at(j, j->read.offset + sizeof h, h.len, &got, e))
        return FAILED;
    bool ok = got == h.len && crc32(0, (const Bytef *)j->in.data, h.len) == h.crc &&
              is_whole(j->in.data, h.len);
    return ok ? RECORD : DAMAGE;
}

static void fill_record(struct journal *j, struct journal_record *r)
{
    struct fixed f;
    memcpy(&f, j->in.data, sizeof f);
    *r = (struct journal_record){
        .xid = f.xid,
        .lsn = f.lsn,
        .commit_us = f.commit_us,
        .kind = f.kind,
        .label = j->in.data + sizeof f,
        .keys = j->in.data + sizeof f + f.label_len,
        .keys_len = f.keys_len,
        .n = f.n,
        .end = {j->read.segment, j->read.offset + sizeof(struct header) + j->in.len},
    };
}

static void add_record(struct buf *b, const struct journal_record *r)
{
    struct fixed f = {.xid = r->xid,
                      .lsn = r->lsn,
                      .commit_us = r->commit_us,
                      .kind = r->kind,
                      .label_len = (uint32_t)strlen(r->label) + 1,
                      .n = (uint32_t)r->n,
                      .keys_len = (uint32_t)r->keys_len};
    struct header h = {0};
    buf_clear(b);
    buf_add(b, &h, sizeof h);
    buf_add(b, &f, sizeof f);
    buf_add(b, r->label, f.label_len);
    buf_add(b, r->keys, r->keys_len);
    if (b->failed)
        return;
    h.len = (uint32_t)(b->len - sizeof h);
    h.crc = (uint32_t)crc32(0, (const Bytef *)b->data + sizeof h, h.len);
    memcpy(b->data, &h, sizeof h);
}

/* ---- opening ---- */

/* A crash may have torn the end of the last segment: what stands there was never synced, or synced
 * only in part, and so never confirmed. */
static bool find_end(struct journal *j, uint64_t last, struct err *e)
{
    enum outcome outcome;
    struct journal_record r;
    j->from = open_segment(j->prefix, last, O_RDWR, e);
    if (j->from < 0)
        return false;
    j->read = (struct journal_position){last, 0};
    while ((outcome = read_record(j, e)) == RECORD) {
        fill_record(j, &r);
        j->lsn = r.lsn ? r.lsn : j->lsn;
        j->read = r.end;
    }
    bool ok =
        outcome != FAILED && (outcome == END || ftruncate(j->from, (off_t)j->read.offset) == 0 ||
                              file_error(e, "write", j->prefix));
    ok = ok && (fdatasync(j->from) == 0 || file_error(e, "write", j->prefix));
    j->wrote = j->read;
    close(j->from);
    j->from = -1;
    return ok;
}

static bool find_segments(struct journal *j, struct journal_position from, struct err *e)
{
    struct range r = {.prefix = j->prefix, .below = from.segment};
    if (!each_segment(j->prefix, widen, &r, e))
        return false;
    if (r.last == 0) { /* none: the next one, so that a position never comes twice */
        j->wrote = j->read = (struct journal_position){from.segment + 1, 0};
        j->released = j->read;
        return true;
    }
    if (!find_end(j, r.last, e))
        return false;
    j->read = from.segment == r.first ? from : (struct journal_position){r.first, 0};
    if (j->read.segment == j->wrote.segment && j->read.offset > j->wrote.offset)
        j->read = j->wrote;
    j->released = j->read;
    bool ok = true;
    for (uint64_t s = r.first; ok && s <= r.last; s++)
        ok = add_size(j->prefix, s, &j->total, e);
    return ok;
}

struct journal *journal_open(const char *prefix, struct journal_position from, struct err *e)
{
    struct journal *j = calloc(1, sizeof *j);
    if (!j) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&j->lock, NULL);
    j->to = j->from = j->held = -1;
    buf_init(&j->out, CONTENT_MAX + sizeof(struct header));
    buf_init(&j->in, CONTENT_MAX);
    j->prefix = strdup(prefix);
    j->held = j->prefix ? hold(prefix, e) : -1;
    if (j->prefix ? j->held >= 0 && find_segments(j, from, e) : err_memory(e))
        return j;
    journal_close(j);
    return NULL;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    if (j->to >= 0)
        close(j->to);
    if (j->from >= 0)
        close(j->from);
    if (j->held >= 0)
        close(j->held);
    buf_free(&j->out);
    buf_free(&j->in);
    pthread_mutex_destroy(&j->lock);
    free(j->prefix);
    free(j);
}

/* ---- appending ---- */

static void set_wrote(struct journal *j, struct journal_position to)
{
    pthread_mutex_lock(&j->lock);
    assert(to.segment > j->wrote.segment ||
           (to.segment == j->wrote.segment && to.offset >= j->wrote.offset));
    j->total += to.segment == j->wrote.segment ? to.offset - j->wrote.offset : 0;
    j->wrote = to;
    pthread_mutex_unlock(&j->lock);
}

/* The segment to append to. A new one's name is durable before anything is in it. */
static bool open_to_append(struct journal *j, struct err *e)
{
    if (j->to >= 0 && j->wrote.offset >= SEGMENT) {
        if (fsync(j->to) != 0)
            return file_error(e, "write", j->prefix);
        close(j->to);
        j->to = -1;
        set_wrote(j, (struct journal_position){j->wrote.segment + 1, 0});
    }
    if (j->to >= 0)
        return true;
    j->to = open_segment(j->prefix, j->wrote.segment, O_WRONLY | O_CREAT, e);
    return j->to >= 0 && sync_folder(j->prefix, e);
}

static bool write_at(struct journal *j, uint64_t offset, struct err *e)
{
    for (size_t n = 0; n < j->out.len;) {
        ssize_t k = pwrite(j->to, j->out.data + n, j->out.len - n, (off_t)(offset + n));
        if (k < 0 && errno != EINTR)
            return file_error(e, "write", j->prefix);
        n += k > 0 ? (size_t)k : 0;
    }
    return true;
}

bool journal_append(struct journal *j, const struct journal_record *record, struct err *e)
{
    assert(strlen(record->label) + 1 + record->keys_len <= JOURNAL_RECORD_MAX);
    add_record(&j->out, record);
    if (j->out.failed)
        return err_memory(e);
    if (!open_to_append(j, e) || !write_at(j, j->wrote.offset, e))
        return false;
    j->lsn = record->lsn ? record->lsn : j->lsn;
    set_wrote(j, (struct journal_position){j->wrote.segment, j->wrote.offset + j->out.len});
    return true;
}

bool journal_sync(struct journal *j, struct err *e)
{
    return j->to < 0 || fdatasync(j->to) == 0 || file_error(e, "write", j->prefix);
}

uint64_t journal_lsn(const struct journal *j)
{
    return j->lsn;
}

/* ---- reading ---- */

struct journal_position journal_end(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    struct journal_position p = j->wrote;
    pthread_mutex_unlock(&j->lock);
    return p;
}

static void leave_segment(struct journal *j)
{
    close(j->from);
    j->from = -1;
    j->read = (struct journal_position){j->read.segment + 1, 0};
}

bool journal_next(struct journal *j, struct journal_record *record, bool *found, struct err *e)
{
    struct journal_position end = journal_end(j);
    for (*found = false; journal_is_before(j->read, end);) {
        if (j->from < 0 && (j->from = open_segment(j->prefix, j->read.segment, O_RDONLY, e)) < 0)
            return false;
        enum outcome outcome = read_record(j, e);
        if (outcome == END && j->read.segment < end.segment) {
            leave_segment(j);
            continue;
        }
        if (outcome != RECORD)
            return outcome == FAILED ? false : damaged(j, e);
        fill_record(j, record);
        j->read = record->end;
        *found = true;
        return true;
    }
    return true;
}

bool journal_release(struct journal *j, struct journal_position end, struct err *e)
{
    uint64_t size, removed = 0;
    bool ok = true;
    assert(!journal_is_before(j->read, end) && !journal_is_before(end, j->released));
    for (uint64_t s = j->released.segment; ok && s < end.segment; s++, removed += size)
        ok = remove_segment(j->prefix, s, &size, e);
    pthread_mutex_lock(&j->lock);
    j->total -= removed;
    j->released = ok ? end : j->released;
    pthread_mutex_unlock(&j->lock);
    return ok;
}

struct journal_position journal_at(const struct journal *j)
{
    return j->read;
}

uint64_t journal_bytes(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    uint64_t n = j->total - j->released.offset;
    pthread_mutex_unlock(&j->lock);
    return n;
}
