#include "store/keyfile.h"

#include "base/alike.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "model/batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads a dead letter; `key` becomes the value of its field "key". */
static bool read_fields(struct json_reader *r, struct buf *key, struct err *e)
{
    json_next(r); /* the '{' */
    while (json_next(r) == JSON_KEY) {
        if (!json_is(r, "key")) {
            json_skip(r);
            continue;
        }
        enum json_token token = json_next(r);
        if (token == JSON_ERROR)
            break;
        if (token != JSON_STRING)
            return err_set(e, ERR_USAGE, "its \"key\" is not a string");
        buf_clear(key); /* of several fields of that name, the last one counts */
        if (r->len > 0 && !buf_add(key, r->text, r->len))
            return err_memory(e);
    }
    if (json_end(r))
        return true;
    if (strcmp(r->error, "out of memory") == 0)
        return err_memory(e);
    return err_set(e, ERR_USAGE, "not a JSON object on one line: %s at byte %zu", r->error, r->at);
}

/* A row whose key is empty or NULL was rejected; it cannot be fetched by its key. */
static bool skip_letter(const char *location)
{
    alike_warn(NULL, LOG_FIELDS(log_text("place", location)),
               "%s: skipped a dead letter without a key; the next sweep or --full checks its row",
               location);
    return true;
}

static bool add_letter(struct batch *to, const char *line, size_t len, const char *location,
                       struct err *e)
{
    struct json_reader r;
    struct buf key;
    json_open(&r, line, len);
    buf_init(&key, len); /* an unescaped string is never longer than its JSON */
    bool ok = read_fields(&r, &key, e);
    if (ok && key.len > 0 && memchr(key.data, '\0', key.len))
        ok = err_set(e, ERR_USAGE, "its \"key\" holds a zero byte");
    if (ok && key.len == 0) {
        ok = skip_letter(location);
    } else if (ok) {
        const char *text = buf_cstr(&key);
        ok = (text && batch_add_key(to, text)) || err_memory(e);
    }
    buf_free(&key);
    json_close(&r);
    return ok || (e->kind == ERR_USAGE && err_wrap(e, "cannot read a dead letter"));
}

static bool add_line(struct batch *to, char *line, size_t len, const char *location, struct err *e)
{
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        line[--len] = '\0';
    if (len == 0)
        return true;
    static const char letter[] = "{\"key\":"; /* a key may begin with '{', too: an array's text */
    if (strncmp(line, letter, sizeof letter - 1) == 0)
        return add_letter(to, line, len, location, e);
    if (strlen(line) != len)
        return err_set(e, ERR_USAGE, "the key holds a zero byte");
    return batch_add_key(to, line) || err_memory(e);
}

/* getline returned no line: whether it was the end of the file. */
static bool end_of_file(FILE *f, const char *name, struct err *e)
{
    int reason = errno;
    if (feof(f) && !ferror(f)) /* getline sets neither if there is no memory */
        return true;
    return err_set(e, ERR_USAGE, "cannot read keys from '%s': %s", name, strerror(reason));
}

static bool read_lines(struct batch *to, FILE *f, const char *name, struct err *e)
{
    char *line = NULL, location[300];
    size_t cap = 0, number = 0;
    ssize_t len = 0;
    bool ok = true;
    while (ok && (len = getline(&line, &cap, f)) >= 0) {
        snprintf(location, sizeof location, "%s:%zu", name, ++number);
        /* a byte order mark is not part of the first key */
        size_t mark = number == 1 && len >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
        bool wide = number == 1 && len >= 2 &&
                    (memcmp(line, "\xFF\xFE", 2) == 0 || memcmp(line, "\xFE\xFF", 2) == 0);
        ok = wide ? err_set(e, ERR_USAGE, "the file is UTF-16, and has to be saved as UTF-8")
                  : add_line(to, line + mark, (size_t)len - mark, location, e);
        if (!ok && e->kind == ERR_USAGE)
            err_wrap(e, "%s", location);
    }
    if (ok)
        ok = end_of_file(f, name, e);
    free(line);
    return ok;
}

bool keyfile_read(struct batch *to, const char *path, struct err *e)
{
    if (strcmp(path, "-") == 0)
        return read_lines(to, stdin, "stdin", e);
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set(e, ERR_USAGE, "cannot read keys from '%s': %s", path, strerror(errno));
    bool ok = read_lines(to, f, path, e);
    fclose(f);
    return ok;
}
