#include "ask/examples.h"

#include "ask/compare.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "model/keylist.h"
#include "run/pipelines.h"
#include "script/pipeline.h"
#include "script/script.h"
#include "script/script_example.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    DOCUMENT_MAX = 256 << 20,
    ROWS_MAX = 1 << 30,
    SHOWN = 200, /* bytes of a value in a difference */
};

/* ---- one example ---- */

struct trial {
    struct examples_trial *t;
    struct script_example *example;
    size_t number; /* from 1 */
    bool failed;
};

static void report(struct trial *t, int line, const char *text)
{
    t->failed = true;
    t->t->report(line, text, t->t->arg);
}

static void fail(struct trial *t, const char *format, const char *what)
{
    struct err text; /* cuts it at a character */
    err_set(&text, ERR_FINAL, format, t->number, what);
    report(t, t->example->line, text.text);
}

/* A value as it is shown: cut, at a character. */
static int shown(struct json_tree_text v)
{
    size_t len = v.len;
    if (len > SHOWN)
        for (len = SHOWN; len > 0 && ((unsigned char)v.at[len] & 0xC0) == 0x80;)
            len--;
    return (int)len;
}

static void show_difference(const struct compare_difference *d, void *arg)
{
    struct trial *t = arg;
    struct buf line;
    const struct json_tree_text sides[] = {d->before, d->after};
    buf_init(&line, 1 << 16);
    if (!t->failed)
        fail(t, "example %zu: the document differs%s", "");
    buf_addf(&line, "  %s:", *d->path ? d->path : "document");
    for (int i = 0; i < 2; i++)
        buf_addf(&line, "%s%.*s%s", i == 0 ? " expected " : ", is ",
                 sides[i].at ? shown(sides[i]) : 7, sides[i].at ? sides[i].at : "missing",
                 sides[i].at && sides[i].len > SHOWN ? "..." : "");
    if (buf_cstr(&line))
        report(t, 0, buf_cstr(&line));
    buf_free(&line);
}

static bool compare(struct trial *t, const struct buf *made, struct err *e)
{
    const char *expected = t->example->document;
    bool same;
    struct compare_documents c = {.before = {expected, strlen(expected)},
                                  .after = {made->data, made->len},
                                  .visit = show_difference,
                                  .arg = t};
    return compare_documents(&c, &same, e);
}

/* False: no memory. */
static bool try_example(struct trial *t, struct buf *out, struct err *e)
{
    struct script_made made;
    buf_clear(out);
    bool ok = script_example_make(t->t->script, t->example, out, &made, e);
    if (ok && made.nothing && script_never_returns(t->t->script))
        ok = script_returned_nothing(t->t->script, e);
    if (!ok) {
        fail(t, "example %zu: %s", e->text);
        return true;
    }
    if (made.present && t->example->document)
        return compare(t, out, e);
    if (made.present)
        fail(t, "example %zu: expected no document, but one was made: %s",
             buf_cstr(out) ? buf_cstr(out) : "");
    else if (t->example->document)
        fail(t, "example %zu: no document was made, expected %s", t->example->document);
    return true;
}

bool examples_try(struct examples_trial *t, struct err *e)
{
    struct script_examples all;
    struct buf out;
    if (!script_examples_read(&all, t->script, t->pipeline, e))
        return false;
    bool ok = true;
    buf_init(&out, DOCUMENT_MAX);
    t->n = all.n;
    t->failed = 0;
    for (size_t i = 0; ok && i < all.n; i++) {
        struct trial one = {.t = t, .example = &all.list[i], .number = i + 1};
        ok = try_example(&one, &out, e);
        t->failed += one.failed;
    }
    buf_free(&out);
    script_examples_free(&all);
    return ok;
}

/* ---- a script, opened for it ---- */

struct opened {
    struct script_text text;
    struct script *script;
    struct pipeline pipeline;
};

static bool open_script(struct opened *o, const char *path, struct err *e)
{
    struct err lacking; /* what only servers need */
    return script_text_read(&o->text, path, e) && script_choose(&o->text, e) &&
           (o->script = script_open(&o->text, e)) &&
           pipeline_read_offline(&o->pipeline, o->script, &lacking, e);
}

static void close_script(struct opened *o)
{
    script_close(o->script);
    pipeline_free(&o->pipeline);
    script_text_free(&o->text);
}

static void print(int line, const char *text, void *arg)
{
    const char *path = arg;
    if (line > 0)
        printf("%s:%d: %s\n", path, line, text);
    else if (*text == ' ')
        printf("%s\n", text);
    else
        printf("%s: %s\n", path, text);
}

static bool no_examples(const char *path, struct err *e)
{
    err_set(e, ERR_USAGE, "%s: the script has no examples", path);
    return err_hint(e, "examples = { { row = { ... }, document = { ... } } }, next to 'document'");
}

static bool run_one(const char *path, bool *failed, struct err *e)
{
    struct opened o = {0};
    bool ok = open_script(&o, path, e);
    struct examples_trial t = {
        .script = o.script, .pipeline = &o.pipeline, .report = print, .arg = o.text.path};
    ok = ok && examples_try(&t, e) && (t.n > 0 || no_examples(path, e));
    if (ok && t.failed > 0)
        printf("%s: %zu of %zu examples failed\n", path, t.failed, t.n);
    else if (ok)
        printf("%s: %zu example%s passed\n", path, t.n, t.n == 1 ? "" : "s");
    *failed |= t.failed > 0;
    close_script(&o);
    return ok;
}

bool examples_run(const char *path, bool *failed, struct err *e)
{
    struct keylist refs = {0};
    char *const one[] = {(char *)path, NULL};
    *failed = false;
    bool ok = pipelines_expand(one, &refs, e);
    for (size_t i = 0; ok && i < refs.n; i++)
        ok = run_one(refs.keys[i], failed, e);
    keylist_free(&refs);
    return ok;
}

/* ---- rows ---- */

static bool read_rows(const char *path, struct buf *out, struct err *e)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    enum file_end end = fd < 0 ? FILE_ERROR : file_read(fd, out);
    int cause = errno;
    if (fd >= 0 && !standard)
        close(fd);
    errno = cause;
    if (end == FILE_ERROR) {
        file_error(e, "read", standard ? "standard input" : path);
        e->kind = ERR_USAGE;
        return false;
    }
    return end == FILE_COMPLETE ||
           (end == FILE_TOO_LARGE ? err_set(e, ERR_USAGE, "'%s' is too large", path)
                                  : err_memory(e));
}

static bool print_row(struct opened *o, const struct buf *json, struct err *e)
{
    struct script_example x;
    struct script_made made;
    struct buf out;
    buf_init(&out, DOCUMENT_MAX);
    bool ok = script_example_read_json(&x, o->script, &o->pipeline, json, e);
    if (ok) {
        ok = script_example_make(o->script, &x, &out, &made, e);
        script_example_free(&x);
    }
    if (ok)
        printf("%.*s\n", made.present ? (int)out.len : 4, made.present ? out.data : "null");
    buf_free(&out);
    return ok;
}

static bool is_blank(const char *text, size_t len)
{
    return len == 0 || strspn(text, " \t\r\n") >= len;
}

/* One object, or, if that cannot be read, one a line. */
static bool print_rows(struct opened *o, const char *path, struct buf *rows, struct err *e)
{
    const char *text = buf_cstr(rows), *end = text ? text + rows->len : NULL;
    if (!text)
        return err_memory(e);
    struct json_tree whole;
    bool one = json_tree_read(&whole, text, rows->len, e);
    json_tree_free(&whole);
    for (int line = 1; text < end; line++) {
        const char *stop = one ? NULL : memchr(text, '\n', (size_t)(end - text));
        size_t len = (size_t)((stop ? stop : end) - text);
        struct buf row = {.data = (char *)text, .len = len};
        if (!is_blank(text, len) && !print_row(o, &row, e))
            return one ? err_wrap(e, "%s", path) : err_wrap(e, "%s:%d", path, line);
        text += len + 1;
    }
    return true;
}

bool examples_print_rows(const char *path, const char *rows, struct err *e)
{
    struct opened o = {0};
    struct buf text;
    buf_init(&text, ROWS_MAX);
    bool ok =
        open_script(&o, path, e) && read_rows(rows, &text, e) && print_rows(&o, rows, &text, e);
    buf_free(&text);
    close_script(&o);
    return ok;
}
