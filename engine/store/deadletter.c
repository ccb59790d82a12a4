#include "store/deadletter.h"

#include "base/atomic_file.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/keyset.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_BYTES = 1 << 30, /* of memory: enough for millions of entries */
    MAX_LINE = 16 << 20, /* bytes */
    MAX_REASON = 4000,   /* bytes: a server may quote a whole document */
    CHUNK = 64 << 10,    /* bytes read or written at once */
};

#define NAME "dead-letter file"
#define ELLIPSIS "\xE2\x80\xA6"

struct deadletters {
    struct atomic_file file;
    char *pipeline;       /* owned, valid UTF-8 */
    struct keyset *lines; /* key: its line, without the line break */
    /* the lines to append: all lines that the file does not have; unused if `replace` */
    struct buf pending;
    size_t size;      /* of the file after our last write; 0: there is none */
    bool replace;     /* the file has lines that are out of date */
    bool lost;        /* an entry could not be kept: nothing may be written any more */
    uint64_t changes; /* 1: none since it was opened */
    bool foreign;     /* the file may be another process's: it is read, and no more */
};

/* ---- lines ---- */

/* The text as valid UTF-8: "?" for each byte that is not, at most max bytes, then "…" if it was
 * cut. Owned by the caller. NULL: no memory. */
static char *valid_text(const char *text, size_t max)
{
    size_t len = strlen(text), n = 0;
    char *valid = malloc((len < max ? len : max) + sizeof ELLIPSIS);
    if (!valid)
        return NULL;
    for (size_t i = 0; i < len;) {
        size_t size = json_character(text + i, len - i);
        size_t step = size ? size : 1;
        if (step > max - n) {
            memcpy(valid + n, ELLIPSIS, sizeof ELLIPSIS - 1);
            n += sizeof ELLIPSIS - 1;
            break;
        }
        memcpy(valid + n, size ? text + i : "?", step);
        n += step;
        i += step;
    }
    valid[n] = '\0';
    return valid;
}

static void write_line(struct buf *b, const char *key, const char *reason, int status,
                       const char *pipeline)
{
    char time[CLOCK_TEXT];
    buf_adds(b, "{\"key\":");
    json_add_string(b, key, strlen(key));
    buf_adds(b, ",\"reason\":");
    json_add_string(b, reason, strlen(reason));
    buf_addf(b, ",\"status\":%d,\"time\":\"%s\",\"pipeline\":", status,
             clock_text(clock_wall_us(), time));
    json_add_string(b, pipeline, strlen(pipeline));
    buf_adds(b, "}");
}

enum found { WHOLE, DAMAGED, NO_MEMORY };

static enum found read_text(struct json_reader *r, char **out)
{
    if (json_next(r) != JSON_STRING || memchr(r->text, '\0', r->len))
        return DAMAGED;
    free(*out);
    *out = strndup(r->text, r->len);
    return *out ? WHOLE : NO_MEMORY;
}

static enum found read_fields(struct json_reader *r, char **key, char **pipeline)
{
    if (json_next(r) != JSON_OBJECT)
        return DAMAGED;
    enum found found = WHOLE;
    while (found == WHOLE && json_next(r) == JSON_KEY) {
        if (json_is(r, "key"))
            found = read_text(r, key);
        else if (json_is(r, "pipeline"))
            found = read_text(r, pipeline);
        else
            json_skip(r);
    }
    if (found != WHOLE)
        return found;
    return r->token == JSON_OBJECT_END && json_end(r) && *key ? WHOLE : DAMAGED;
}

/* *key, *pipeline: owned by the caller, in any case; NULL if the line has none. */
static enum found read_line(const char *line, size_t len, char **key, char **pipeline)
{
    struct json_reader r;
    json_open(&r, line, len);
    enum found found = read_fields(&r, key, pipeline);
    if (r.error && strcmp(r.error, "out of memory") == 0)
        found = NO_MEMORY;
    json_close(&r);
    return found;
}

/* ---- reading ---- */

static bool no_room(const struct deadletters *d, struct err *e)
{
    err_set(e, ERR_FINAL, "cannot keep more than %zu dead letters in memory",
            keyset_count(d->lines));
    return err_hint(e, "fix the causes named in '%s', then load its keys again", d->file.path);
}

static bool damaged(const struct deadletters *d, size_t number, struct err *e)
{
    err_set(e, ERR_FINAL, "cannot read " NAME " '%s': line %zu is damaged", d->file.path, number);
    return err_hint(e, "the file is unchanged; correct or remove that line");
}

static bool foreign(const struct deadletters *d, size_t number, const char *pipeline, struct err *e)
{
    err_set(e, ERR_FINAL,
            "cannot use " NAME " '%s' for pipeline '%s': line %zu belongs to pipeline '%s'",
            d->file.path, d->pipeline, number, pipeline);
    return err_hint(e, "give each script its own dead-letter file");
}

static bool keep(struct deadletters *d, const char *key, const char *line, struct err *e)
{
    if (keyset_has(d->lines, key)) {
        keyset_remove(d->lines, key); /* so that the new entry is the last one */
        d->replace = true;
    }
    return keyset_put(d->lines, key, line, 0) || no_room(d, e);
}

struct line {
    const char *text; /* a zero byte follows it */
    size_t len;
    size_t number; /* from 1 */
    bool cut;      /* without a line break, so it may be incomplete */
};

static bool keep_line(struct deadletters *d, const struct line *line, struct err *e)
{
    if (line->len == 0)
        return true;
    char *key = NULL, *pipeline = NULL;
    enum found found = read_line(line->text, line->len, &key, &pipeline);
    bool ok = true;
    if (found == NO_MEMORY)
        ok = err_memory(e);
    else if (found == DAMAGED && line->cut)
        log_warn_with(
            LOG_FIELDS(log_text("path", d->file.path), log_int("line", (long long)line->number)),
            NAME " '%s': dropped the last line (%zu), which is incomplete", d->file.path,
            line->number);
    else if (found == DAMAGED)
        ok = damaged(d, line->number, e);
    else if (pipeline && strcmp(pipeline, d->pipeline) != 0)
        ok = foreign(d, line->number, pipeline, e);
    else
        ok = keep(d, key, line->text, e);
    free(key);
    free(pipeline);
    return ok;
}

/* Keeps the complete lines of `text`, and leaves what follows them. *number: of the last line. */
static bool keep_lines(struct deadletters *d, struct buf *text, size_t *number, struct err *e)
{
    char *from = text->data, *end = text->data + text->len;
    bool ok = true;
    for (char *stop; ok && (stop = memchr(from, '\n', (size_t)(end - from))); from = stop + 1) {
        *stop = '\0';
        struct line line = {.text = from, .len = (size_t)(stop - from), .number = ++*number};
        ok = keep_line(d, &line, e);
    }
    text->len = (size_t)(end - from);
    memmove(text->data, from, text->len);
    return ok;
}

static bool keep_rest(struct deadletters *d, struct buf *text, size_t number, struct err *e)
{
    struct line line = {.text = buf_cstr(text), .len = text->len, .number = number, .cut = true};
    if (!line.text)
        return err_memory(e);
    if (d->foreign) /* its writer is at it */
        return true;
    d->replace |= line.len > 0; /* an append would continue this line */
    return keep_line(d, &line, e);
}

static bool read_open_file(struct deadletters *d, int fd, struct buf *text, struct err *e)
{
    size_t number = 0;
    ssize_t n = 0;
    bool ok = true;
    while (ok && buf_reserve(text, CHUNK) && (n = read(fd, text->data + text->len, CHUNK)) > 0) {
        text->len += (size_t)n;
        d->size += (size_t)n;
        ok = keep_lines(d, text, &number, e);
    }
    if (!ok)
        return false;
    if (n < 0)
        return file_error(e, "read " NAME, d->file.path);
    if (text->failed)
        return text->len > MAX_LINE - CHUNK ? damaged(d, number + 1, e) : err_memory(e);
    return keep_rest(d, text, number + 1, e);
}

static bool read_file(struct deadletters *d, struct err *e)
{
    int fd = open(d->file.path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || file_error(e, "open " NAME, d->file.path);
    struct buf text;
    buf_init(&text, MAX_LINE);
    bool ok = read_open_file(d, fd, &text, e);
    buf_free(&text);
    close(fd);
    return ok;
}

/* NULL: no memory. */
static struct deadletters *new_letters(const char *pipeline)
{
    struct deadletters *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->changes = 1;
    buf_init(&d->pending, MAX_BYTES);
    d->pipeline = valid_text(pipeline, SIZE_MAX);
    d->lines = keyset_new(MAX_BYTES);
    if (d->pipeline && d->lines)
        return d;
    deadletters_close(d);
    return NULL;
}

struct deadletters *deadletters_open(const char *path, const char *pipeline, struct err *e)
{
    struct deadletters *d = new_letters(pipeline);
    if (!d)
        err_memory(e);
    else if (atomic_file_prepare(&d->file, path, NAME, e) && read_file(d, e))
        return d;
    deadletters_close(d);
    return NULL;
}

struct deadletters *deadletters_read(const char *path, const char *pipeline, struct err *e)
{
    struct deadletters *d = new_letters(pipeline);
    if (!d || !(d->file.path = strdup(path))) {
        err_memory(e);
        deadletters_close(d);
        return NULL;
    }
    d->foreign = true;
    if (read_file(d, e))
        return d;
    deadletters_close(d);
    return NULL;
}

const char *deadletters_find(const struct deadletters *d, const char *key)
{
    const char *other, *line;
    size_t at = 0;
    if (!keyset_has(d->lines, key))
        return NULL;
    while (keyset_next(d->lines, &at, &other, &line))
        if (strcmp(other, key) == 0)
            return line;
    return NULL;
}

void deadletters_close(struct deadletters *d)
{
    if (!d)
        return;
    atomic_file_free(&d->file);
    free(d->pipeline);
    keyset_free(d->lines);
    buf_free(&d->pending);
    free(d);
}

/* ---- changes ---- */

/* Without memory for the pending lines, the next sync replaces the whole file. */
static void make_pending(struct deadletters *d, const char *line)
{
    if (!d->replace && (!buf_adds(&d->pending, line) || !buf_addc(&d->pending, '\n')))
        d->replace = true;
    if (d->replace)
        buf_free(&d->pending);
}

static bool add(struct deadletters *d, const char *key, const char *reason, int status,
                struct err *e)
{
    struct buf b;
    buf_init(&b, MAX_LINE - CHUNK);
    write_line(&b, key, reason, status, d->pipeline);
    const char *line = buf_cstr(&b);
    bool ok = line ? keep(d, key, line, e) : err_memory(e);
    if (ok)
        make_pending(d, line);
    buf_free(&b);
    return ok;
}

bool deadletters_add(struct deadletters *d, const char *key, const char *reason, int status,
                     struct err *e)
{
    char *k = valid_text(key, SIZE_MAX), *r = valid_text(reason, MAX_REASON);
    bool ok = k && r ? add(d, k, r, status, e) : err_memory(e);
    d->lost |= !ok;
    d->changes++;
    free(k);
    free(r);
    return ok;
}

void deadletters_clear(struct deadletters *d, const char *key)
{
    if (!keyset_has(d->lines, key))
        return;
    keyset_remove(d->lines, key);
    d->replace = true;
    d->changes++;
}

/* ---- writing ---- */

static bool write_lines(const struct deadletters *d, int fd, struct buf *b, struct err *e)
{
    const char *key, *line;
    bool ok = true;
    for (size_t at = 0; ok && keyset_next(d->lines, &at, &key, &line);) {
        buf_adds(b, line);
        buf_addc(b, '\n');
        if (b->failed)
            return err_memory(e);
        if (b->len < CHUNK)
            continue;
        ok = file_write(fd, b->data, b->len, d->file.temporary, e);
        buf_clear(b);
    }
    return ok && file_write(fd, b->data, b->len, d->file.temporary, e);
}

static bool replace_file(const struct deadletters *d, struct err *e)
{
    int fd = atomic_file_begin(&d->file, e);
    if (fd < 0)
        return false;
    struct buf b;
    buf_init(&b, MAX_LINE + CHUNK);
    bool ok = write_lines(d, fd, &b, e);
    buf_free(&b);
    return atomic_file_end(&d->file, fd, ok, e);
}

/* Cuts off an incomplete write. After a failed fsync the kernel may believe that lost data was
 * written, so the next sync replaces the whole file. */
static bool append(struct deadletters *d, struct err *e)
{
    assert(!d->replace && d->pending.len > 0);
    int fd = open(d->file.path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return file_error(e, "open " NAME, d->file.path);
    bool ok = file_write(fd, d->pending.data, d->pending.len, d->file.path, e);
    if (ok && fsync(fd) != 0) {
        ok = file_error(e, "write", d->file.path);
        d->replace = true;
    }
    if (!ok && ftruncate(fd, (off_t)d->size) != 0)
        d->replace = true;
    close(fd);
    return ok;
}

static size_t size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (size_t)info.st_size : 0;
}

/* A file that was removed is written again. A file of another size has lines of another process,
 * which must not be lost. */
static bool check_unchanged(struct deadletters *d, struct err *e)
{
    size_t size = size_of(d->file.path);
    d->replace |= size == 0;
    if (size == 0 || size == d->size)
        return true;
    err_set(e, ERR_FINAL, "cannot write " NAME " '%s': it was changed by another process",
            d->file.path);
    return err_hint(e, "give each script its own dead-letter file; the next run reads the changes");
}

bool deadletters_sync(struct deadletters *d, struct err *e)
{
    if (d->lost)
        return err_set(e, ERR_FINAL, "cannot write " NAME " '%s': an entry was lost, out of memory",
                       d->file.path);
    if (!d->replace && d->pending.len == 0)
        return true;
    if (!check_unchanged(d, e))
        return false;
    bool ok = keyset_count(d->lines) == 0 ? atomic_file_remove(&d->file, e)
              : d->replace                ? replace_file(d, e)
                                          : append(d, e);
    d->size = size_of(d->file.path);
    if (!ok)
        return err_wrap(e, "dead letters not saved");
    buf_free(&d->pending);
    d->replace = false;
    return true;
}

const char *deadletters_path(const struct deadletters *d)
{
    return d->file.path;
}

size_t deadletters_count(const struct deadletters *d)
{
    return keyset_count(d->lines);
}

uint64_t deadletters_changes(const struct deadletters *d)
{
    return d->changes;
}

bool deadletters_next(const struct deadletters *d, size_t *at, const char **key)
{
    const char *line;
    return keyset_next(d->lines, at, key, &line);
}

bool deadletters_next_line(const struct deadletters *d, size_t *at, const char **key,
                           const char **line)
{
    return keyset_next(d->lines, at, key, line);
}

/* ---- moving, and files that are not open ---- */

bool deadletters_move(struct deadletters *d, const char *to, struct err *e)
{
    if (deadletters_count(d) > 0)
        return rename(d->file.path, to) == 0 || file_error(e, "write", to);
    return unlink(to) == 0 || errno == ENOENT || file_error(e, "remove", to);
}

char *deadletters_default_path(const char *state)
{
    char *path;
    return asprintf(&path, "%s.rejected", state) < 0 ? NULL : path;
}

bool deadletters_exist(const char *path)
{
    return size_of(path) > 0;
}

void deadletters_discard(const char *path)
{
    unlink(path);
}
