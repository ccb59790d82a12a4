#include "store/state.h"

#include "base/atomic_file.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FORMAT = 2,
    OLDEST_FORMAT = 1,  /* its positions were bounds: whatever was not done lay above them */
    MAX_FILE = 1 << 20, /* bytes; a state is below 1 KiB, but for its keys */
    MAX_BARE = 256,     /* bytes; a longer text without JSON is not a bare file but a damaged one */
};

struct state {
    struct atomic_file file;
    int lock;
};

/* ---- data ---- */

void state_data_free(struct state_data *d)
{
    free(d->pipeline);
    free(d->index);
    free(d->index_uuid);
    free(d->after);
    free(d->sweep_after);
    free(d->server);
    position_free(&d->mtime);
    for (size_t i = 0; i < d->n_tables; i++) {
        free(d->tables[i].name);
        free(d->tables[i].key);
        free(d->tables[i].types);
        free(d->tables[i].cursor);
        checkpoint_free(&d->tables[i].checkpoint);
    }
    free(d->tables);
    *d = (struct state_data){0};
}

static bool copy_table(struct state_data *to, const struct state_table *from)
{
    struct state_table *t = state_table(to, from->name);
    return t && checkpoint_copy(&t->checkpoint, &from->checkpoint) &&
           text_set(&t->key, from->key) && text_set(&t->types, from->types) &&
           text_set(&t->cursor, from->cursor);
}

bool state_data_copy(struct state_data *to, const struct state_data *from)
{
    *to = (struct state_data){.phase = from->phase,
                              .bare = from->bare,
                              .version = from->version,
                              .swept_us = from->swept_us,
                              .documents = from->documents};
    bool ok = position_copy(&to->mtime, &from->mtime) && text_set(&to->pipeline, from->pipeline) &&
              text_set(&to->index, from->index) && text_set(&to->index_uuid, from->index_uuid) &&
              text_set(&to->after, from->after) && text_set(&to->sweep_after, from->sweep_after) &&
              text_set(&to->server, from->server);
    for (size_t i = 0; ok && i < from->n_tables; i++)
        ok = copy_table(to, &from->tables[i]);
    if (!ok)
        state_data_free(to);
    return ok;
}

struct state_table *state_table(struct state_data *d, const char *name)
{
    for (size_t i = 0; i < d->n_tables; i++)
        if (strcmp(d->tables[i].name, name) == 0)
            return &d->tables[i];
    struct state_table *tables = realloc(d->tables, (d->n_tables + 1) * sizeof *tables);
    if (!tables)
        return NULL;
    d->tables = tables;
    tables[d->n_tables] = (struct state_table){.name = strdup(name)};
    return tables[d->n_tables].name ? &tables[d->n_tables++] : NULL;
}

/* ---- opening ---- */

static bool lock_taken(int fd, const char *path, struct err *e)
{
    char pid[24] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? n : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    err_set(e, ERR_FINAL, "cannot use state file '%s': another run is using it (process %s)", path,
            *pid ? pid : "unknown");
    return err_hint(e, "wait for it to end, or give this script a state file of its own");
}

static bool take_lock(struct state *s, struct err *e)
{
    char *path;
    if (asprintf(&path, "%s.lock", s->file.path) < 0)
        return err_memory(e);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool ok;
    if (s->lock < 0)
        ok = file_error(e, "open", path);
    else if (flock(s->lock, LOCK_EX | LOCK_NB) != 0)
        ok = errno == EWOULDBLOCK ? lock_taken(s->lock, s->file.path, e)
                                  : file_error(e, "lock", path);
    else
        ok = true;
    free(path);
    /* The pid is only there for other processes' messages: a full disk is no reason to stop
     * here. */
    if (ok && ftruncate(s->lock, 0) == 0)
        dprintf(s->lock, "%ld\n", (long)getpid());
    return ok;
}

struct state *state_open(const char *path, struct err *e)
{
    struct state *s = calloc(1, sizeof *s);
    if (!s) {
        err_memory(e);
        return NULL;
    }
    s->lock = -1;
    if (atomic_file_prepare(&s->file, path, "state file", e) && take_lock(s, e))
        return s;
    state_close(s);
    return NULL;
}

void state_close(struct state *s)
{
    if (!s)
        return;
    if (s->lock >= 0)
        close(s->lock);
    atomic_file_free(&s->file);
    free(s);
}

/* ---- holding still ---- */

/* Bytes of the lock file. The owner of the state has WORK while it works; who asks takes ASK, then
 * waits for WORK. Both locks go when their process ends. */
enum { ASK = 1 << 20, WORK, PAUSE_MS = 5 };

static bool lock_byte(int fd, int byte, short type)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &l) == 0;
}

void state_may_ask(struct state *s)
{
    lock_byte(s->lock, WORK, F_RDLCK);
}

bool state_is_asked(struct state *s)
{
    struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = ASK, .l_len = 1};
    return fcntl(s->lock, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

bool state_hold(struct state *s)
{
    bool on = lock_byte(s->lock, WORK, F_UNLCK);
    while (on && (state_is_asked(s) || !lock_byte(s->lock, WORK, F_RDLCK)))
        on = stop_sleep(PAUSE_MS);
    return on;
}

int state_ask(const char *path, int64_t timeout_ms, bool *still)
{
    char *lock;
    int64_t end = clock_mono_us() + timeout_ms * 1000;
    int fd = -1;
    *still = false;
    if (asprintf(&lock, "%s.lock", path) >= 0) {
        fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        free(lock);
    }
    bool on = fd >= 0 && lock_byte(fd, ASK, F_WRLCK);
    while (on && !(*still = lock_byte(fd, WORK, F_WRLCK)))
        on = clock_mono_us() < end && stop_sleep(PAUSE_MS);
    return fd;
}

void state_release(int asked)
{
    if (asked >= 0)
        close(asked);
}

/* ---- reading ---- */

static bool read_text(struct json_reader *r, char **out)
{
    enum json_token t = json_next(r);
    if (t == JSON_NULL)
        return true;
    if (t != JSON_STRING || memchr(r->text, '\0', r->len))
        return false;
    free(*out);
    *out = strndup(r->text, r->len);
    return *out != NULL;
}

static bool read_int(struct json_reader *r, int64_t *out)
{
    return json_next(r) == JSON_NUMBER && json_int(r, out);
}

static bool read_uint(struct json_reader *r, uint64_t *out)
{
    int64_t n = 0;
    bool ok = read_int(r, &n);
    *out = (uint64_t)n;
    return ok;
}

/* "cursor", "key" or "us". *mine: it was one of them. */
static bool read_position_field(struct json_reader *r, struct position *p, bool *mine)
{
    *mine = true;
    if (json_is(r, "cursor"))
        return read_text(r, &p->cursor);
    if (json_is(r, "key"))
        return read_text(r, &p->key);
    if (json_is(r, "us"))
        return p->has_us = read_int(r, &p->us);
    *mine = false;
    return true;
}

static bool read_fence(struct json_reader *r, struct fence *f)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true;
    while (ok && json_next(r) == JSON_KEY)
        ok = json_is(r, "sessions") ? read_text(r, &f->sessions)
             : json_is(r, "xid")    ? read_uint(r, &f->xid)
             : json_is(r, "since")  ? read_int(r, &f->us)
                                    : json_skip(r);
    return ok && r->token == JSON_OBJECT_END;
}

static bool read_window(struct json_reader *r, struct window *w)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true, mine;
    while (ok && json_next(r) == JSON_KEY) {
        ok = read_position_field(r, &w->from, &mine);
        if (!mine)
            ok = json_is(r, "xid")     ? read_uint(r, &w->xid)
                 : json_is(r, "taken") ? read_int(r, &w->us)
                 : json_is(r, "fence") ? read_fence(r, &w->fence)
                                       : json_skip(r);
    }
    return ok && r->token == JSON_OBJECT_END;
}

/* A position with one number, and perhaps a text: "fan", "pass", "seen". */
static bool read_part(struct json_reader *r, struct position *p, const char *name, uint64_t *number,
                      char **after)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true, mine;
    while (ok && json_next(r) == JSON_KEY) {
        ok = read_position_field(r, p, &mine);
        if (!mine)
            ok = name && json_is(r, name)       ? read_uint(r, number)
                 : after && json_is(r, "after") ? read_text(r, after)
                                                : json_skip(r);
    }
    return ok && r->token == JSON_OBJECT_END;
}

static bool read_checkpoint(struct json_reader *r, struct checkpoint *m)
{
    struct position owed = {0};
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true, mine, has_window = false;
    while (ok && json_next(r) == JSON_KEY) {
        ok = read_position_field(r, &m->at, &mine);
        if (mine)
            continue;
        if (json_is(r, "window"))
            ok = has_window = read_window(r, &m->window);
        else if (json_is(r, "candidate"))
            ok = read_window(r, &m->candidate);
        else if (json_is(r, "rewind"))
            ok = read_window(r, &m->rewind);
        else if (json_is(r, "seen"))
            ok = read_part(r, &m->seen, NULL, NULL, NULL);
        else if (json_is(r, "pass"))
            ok = read_part(r, &m->pass, "xid", &m->pass_xid, NULL);
        else if (json_is(r, "fan"))
            ok = read_part(r, &m->fanout, "hash", &m->fanout_hash, &m->after);
        else if (json_is(r, "owed")) /* of format 1: the position to go back to */
            ok = read_part(r, &owed, NULL, NULL, NULL);
        else
            ok = json_skip(r);
    }
    ok = ok && r->token == JSON_OBJECT_END;
    if (ok && !has_window) /* format 1 */
        ok = position_copy(&m->window.from, owed.cursor ? &owed : &m->at);
    position_free(&owed);
    return ok;
}

static bool read_tables(struct json_reader *r, struct state_data *d)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        char *name = strndup(r->text, r->len);
        struct state_table *t = name ? state_table(d, name) : NULL;
        free(name);
        if (!t || !read_checkpoint(r, &t->checkpoint))
            return false;
    }
    return r->token == JSON_OBJECT_END;
}

/* {"TABLE":["KEY","TYPES","CURSOR"],..} */
static bool read_columns(struct json_reader *r, struct state_data *d)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        char *name = strndup(r->text, r->len);
        struct state_table *t = name ? state_table(d, name) : NULL;
        free(name);
        if (!t || json_next(r) != JSON_ARRAY || !read_text(r, &t->key) ||
            !read_text(r, &t->types) || !read_text(r, &t->cursor) || json_next(r) != JSON_ARRAY_END)
            return false;
    }
    return r->token == JSON_OBJECT_END;
}

static bool read_sweep(struct json_reader *r, struct state_data *d)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true;
    while (ok && json_next(r) == JSON_KEY)
        ok = json_is(r, "swept")   ? read_int(r, &d->swept_us)
             : json_is(r, "after") ? read_text(r, &d->sweep_after)
                                   : json_skip(r);
    return ok && r->token == JSON_OBJECT_END;
}

static bool read_phase(struct json_reader *r, struct state_data *d)
{
    if (json_next(r) != JSON_STRING)
        return false;
    d->phase = json_is(r, "snapshot")    ? STATE_SNAPSHOT
               : json_is(r, "following") ? STATE_FOLLOWING
                                         : STATE_NEW;
    return d->phase != STATE_NEW;
}

static bool read_fields(struct json_reader *r, struct state_data *d, int64_t *format)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true;
    while (ok && json_next(r) == JSON_KEY) {
        if (json_is(r, "format"))
            ok = read_int(r, format);
        else if (json_is(r, "pipeline"))
            ok = read_text(r, &d->pipeline);
        else if (json_is(r, "index"))
            ok = read_text(r, &d->index);
        else if (json_is(r, "index_uuid"))
            ok = read_text(r, &d->index_uuid);
        else if (json_is(r, "phase"))
            ok = read_phase(r, d);
        else if (json_is(r, "after"))
            ok = read_text(r, &d->after);
        else if (json_is(r, "version"))
            ok = read_int(r, &d->version);
        else if (json_is(r, "server"))
            ok = read_text(r, &d->server);
        else if (json_is(r, "tables"))
            ok = read_tables(r, d);
        else if (json_is(r, "columns"))
            ok = read_columns(r, d);
        else if (json_is(r, "sweep"))
            ok = read_sweep(r, d);
        else if (json_is(r, "documents"))
            ok = read_int(r, &d->documents);
        else
            ok = json_skip(r);
        if (*format > FORMAT)
            return true; /* not ours to judge: what follows may have changed its meaning */
    }
    return ok && r->token == JSON_OBJECT_END && json_end(r) && *format >= OLDEST_FORMAT &&
           d->pipeline && d->index_uuid && d->phase != STATE_NEW;
}

static bool read_json(const char *path, const struct buf *text, struct state_data *d, struct err *e)
{
    struct json_reader r;
    int64_t format = 0;
    json_open(&r, text->data, text->len);
    bool ok = read_fields(&r, d, &format);
    size_t at = r.at;
    json_close(&r);
    if (ok && format <= FORMAT)
        return true;
    if (format > FORMAT)
        return err_set(e, ERR_FINAL,
                       "cannot read state file '%s': format %lld was written by a newer version",
                       path, (long long)format);
    err_set(e, ERR_FINAL, "cannot read state file '%s': damaged at byte %zu", path, at);
    return err_hint(e, "it is left as it is; 'etl-engine state reset SCRIPT' removes it, and the "
                       "next run loads everything");
}

static bool is_bare(const struct buf *text)
{
    for (size_t i = 0; i < text->len; i++)
        if (text->len > MAX_BARE || strchr("{}[]\"", text->data[i]) ||
            (unsigned char)text->data[i] == 0x7f)
            return false; /* strchr finds the zero byte too */
    return true;
}

static bool read_file(const char *path, struct buf *text, struct stat *info, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_error(e, "open state file", path);
    enum file_end end = fstat(fd, info) == 0 ? file_read(fd, text) : FILE_ERROR;
    if (end == FILE_TOO_LARGE)
        err_set(e, ERR_FINAL, "cannot read state file '%s': larger than %d bytes", path, MAX_FILE);
    else if (end == FILE_NO_MEMORY)
        err_memory(e);
    else if (end == FILE_ERROR)
        file_error(e, "read state file", path);
    close(fd);
    return end == FILE_COMPLETE;
}

/* Whoever touches the file to an earlier time wants what changed since then to be read again: in
 * each table. */
static bool go_back(struct state_data *d, int64_t us, const char *path, struct err *e)
{
    char text[CLOCK_TEXT], was[CLOCK_TEXT];
    if (!d->bare)
        log_info("state file '%s' was touched: going back from %s to %s", path,
                 clock_text(d->tables[0].checkpoint.at.us, was), clock_text(us, text));
    if (!position_set_time(&d->mtime, us))
        return err_memory(e);
    for (size_t i = 0; i < d->n_tables; i++) {
        struct checkpoint *m = &d->tables[i].checkpoint;
        if (!m->at.has_us || m->at.us <= us)
            continue;
        struct window rewind = {0};
        if (m->rewind.fence.sessions && (!m->rewind.from.has_us || m->rewind.from.us < us)) {
            rewind = m->rewind; /* what is lower still is not forgotten */
            m->rewind = (struct window){0};
        }
        bool ok = checkpoint_begin(m, &d->mtime);
        m->rewind = rewind;
        if (!ok)
            return err_memory(e);
    }
    return true;
}

static bool heed_mtime(const char *path, const struct stat *info, struct state_data *d,
                       struct err *e)
{
    int64_t us = (int64_t)info->st_mtim.tv_sec * 1000000 + info->st_mtim.tv_nsec / 1000;
    const struct position *root = d->n_tables ? &d->tables[0].checkpoint.at : NULL;
    char text[CLOCK_TEXT], other[CLOCK_TEXT];
    if (d->bare)
        return go_back(d, us, path, e);
    if (d->phase != STATE_FOLLOWING || !root || !root->has_us || us == root->us)
        return true;
    if (us < root->us)
        return go_back(d, us, path, e);
    log_warn(
        "state file '%s' has a later time (%s) than the position in it (%s): the position counts",
        path, clock_text(us, text), clock_text(root->us, other));
    return true;
}

bool state_read(const char *path, struct state_data *d, struct err *e)
{
    *d = (struct state_data){0};
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return true;
    struct buf text;
    struct stat info;
    buf_init(&text, MAX_FILE);
    bool ok = read_file(path, &text, &info, e);
    if (ok && is_bare(&text)) {
        d->bare = true;
        d->phase = STATE_FOLLOWING;
    } else if (ok) {
        ok = read_json(path, &text, d, e);
    }
    ok = ok && heed_mtime(path, &info, d, e);
    buf_free(&text);
    if (!ok)
        state_data_free(d);
    return ok;
}

/* ---- writing ---- */

static void add_value(struct buf *b, const char *text)
{
    size_t before = b->len;
    if (text && json_add_string(b, text, strlen(text)))
        return;
    /* a key that is no UTF-8, in a database that takes any bytes: without it, more is read again */
    if (!b->failed)
        buf_cut(b, before);
    buf_adds(b, "null");
}

static void add_text(struct buf *b, const char *name, const char *text)
{
    buf_addf(b, "%s:", name);
    add_value(b, text);
}

static void add_position(struct buf *b, const struct position *p)
{
    add_text(b, "{\"cursor\"", p->cursor);
    add_text(b, ",\"key\"", p->key);
    if (p->has_us)
        buf_addf(b, ",\"us\":%lld", (long long)p->us);
}

static void add_window(struct buf *b, const char *name, const struct window *w)
{
    buf_addf(b, ",\"%s\":", name);
    add_position(b, &w->from);
    if (w->xid != 0)
        buf_addf(b, ",\"xid\":%llu", (unsigned long long)w->xid);
    if (w->us != 0)
        buf_addf(b, ",\"taken\":%lld", (long long)w->us);
    if (w->fence.sessions) {
        add_text(b, ",\"fence\":{\"sessions\"", w->fence.sessions);
        buf_addf(b, ",\"xid\":%llu,\"since\":%lld}", (unsigned long long)w->fence.xid,
                 (long long)w->fence.us);
    }
    buf_adds(b, "}");
}

static void add_checkpoint(struct buf *b, const struct checkpoint *m)
{
    add_position(b, &m->at);
    if (m->seen.cursor) {
        buf_adds(b, ",\"seen\":");
        add_position(b, &m->seen);
        buf_adds(b, "}");
    }
    add_window(b, "window", &m->window);
    if (m->candidate.us != 0)
        add_window(b, "candidate", &m->candidate);
    if (m->rewind.fence.sessions)
        add_window(b, "rewind", &m->rewind);
    if (m->pass.cursor) {
        buf_adds(b, ",\"pass\":");
        add_position(b, &m->pass);
        buf_addf(b, ",\"xid\":%llu}", (unsigned long long)m->pass_xid);
    }
    if (m->fanout.cursor) {
        buf_adds(b, ",\"fan\":");
        add_position(b, &m->fanout);
        add_text(b, ",\"after\"", m->after);
        buf_addf(b, ",\"hash\":%lld}", (long long)m->fanout_hash);
    }
    buf_adds(b, "}");
}

static void add_tables(struct buf *b, const struct state_data *d)
{
    buf_adds(b, ",\"tables\":{");
    for (size_t i = 0; i < d->n_tables; i++) {
        const struct state_table *t = &d->tables[i];
        if (i > 0)
            buf_adds(b, ",");
        json_add_string(b, t->name, strlen(t->name));
        buf_adds(b, ":");
        add_checkpoint(b, &t->checkpoint);
    }
    buf_adds(b, "}");
}

static void add_columns(struct buf *b, const struct state_data *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n_tables; i++) {
        const struct state_table *t = &d->tables[i];
        if (!t->key)
            continue;
        buf_adds(b, n++ ? "," : ",\"columns\":{");
        json_add_string(b, t->name, strlen(t->name));
        buf_adds(b, ":[");
        add_value(b, t->key);
        buf_adds(b, ",");
        add_value(b, t->types);
        buf_adds(b, ",");
        add_value(b, t->cursor);
        buf_adds(b, "]");
    }
    buf_adds(b, n ? "}" : "");
}

static void write_json(struct buf *b, const struct state_data *d)
{
    buf_addf(b, "{\"format\":%d,", FORMAT);
    add_text(b, "\"pipeline\"", d->pipeline);
    add_text(b, ",\"index\"", d->index);
    add_text(b, ",\"index_uuid\"", d->index_uuid);
    add_text(b, ",\"phase\"", d->phase == STATE_SNAPSHOT ? "snapshot" : "following");
    add_text(b, ",\"after\"", d->after);
    buf_addf(b, ",\"version\":%lld", (long long)d->version);
    if (d->server)
        add_text(b, ",\"server\"", d->server);
    add_tables(b, d);
    add_columns(b, d);
    buf_addf(b, ",\"sweep\":{\"swept\":%lld", (long long)d->swept_us);
    add_text(b, ",\"after\"", d->sweep_after);
    buf_addf(b, "},\"documents\":%lld}\n", (long long)d->documents);
}

/* The mtime of a file in this state: see the top of state.h. */
static void set_times(const struct state_data *d, struct timespec times[2])
{
    const struct position *root = d->bare       ? &d->mtime
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

bool state_save(struct state *s, const struct state_data *d, struct err *e)
{
    struct buf text;
    buf_init(&text, MAX_FILE);
    if (!d->bare)
        write_json(&text, d);
    bool ok = !text.failed || err_memory(e);
    ok = ok && replace_file(&s->file, &text, d, e);
    buf_free(&text);
    return ok || err_wrap(e, "state not saved");
}

bool state_remove(struct state *s, struct err *e)
{
    return atomic_file_remove(&s->file, e);
}

bool state_parse_time(const char *text, int64_t *us)
{
    struct tm tm = {.tm_mday = 1};
    const char *p = strptime(text, "%Y-%m-%d", &tm);
    if (!p)
        return false;
    int64_t fraction = 0, zone = 0;
    if ((*p == 'T' || *p == ' ') && p[1]) {
        if (!(p = strptime(p + 1, "%H:%M", &tm)))
            return false;
        if (*p == ':' && !(p = strptime(p + 1, "%S", &tm)))
            return false;
        if (*p == '.') {
            int64_t unit = 100000;
            for (p++; *p >= '0' && *p <= '9'; p++, unit /= 10)
                fraction += (*p - '0') * unit;
        }
        if (*p == '+' || *p == '-') {
            struct tm offset = {0};
            int sign = *p == '-' ? -1 : 1;
            if (!(p = strptime(p + 1, "%H", &offset)))
                return false;
            if (*p == ':')
                p++;
            if (*p && !(p = strptime(p, "%M", &offset)))
                return false;
            zone = sign * (offset.tm_hour * 3600 + offset.tm_min * 60);
        } else if (*p == 'Z') {
            p++;
        }
    }
    int day = tm.tm_mday;
    *us = ((int64_t)timegm(&tm) - zone) * 1000000 + fraction;
    return !*p && tm.tm_mday == day; /* timegm makes 2 March of 30 February */
}
