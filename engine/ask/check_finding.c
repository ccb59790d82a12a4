/* check_finding: findings, and how they are printed. */
#include "ask/check_internal.h"
#include "base/grow.h"
#include "base/json.h"
#include "base/log.h"
#include "script/script_lines.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const severities[] = {"note", "warning", "error"};

/* ---- adding ---- */

/* The script's file: c->path may name one of its pipelines. */
static const char *file_of(const struct check *c)
{
    return c->user.text.path ? c->user.text.path : c->path;
}

/* Takes "SCRIPT:12: " off the front of a text, for its line, or "SCRIPT: ". */
static const char *without_place(const struct check *c, const char *text, int *line)
{
    size_t len = strlen(file_of(c));
    if (strncmp(text, file_of(c), len) != 0 || text[len] != ':')
        return text;
    char *end;
    long n = strtol(text + len + 1, &end, 10);
    if (text[len + 1] == ' ')
        return text + len + 2;
    if (n <= 0 || n > 1000000000 || strncmp(end, ": ", 2) != 0)
        return text;
    *line = *line > 0 ? *line : (int)n;
    return end + 2;
}

/* One line: what servers and scripts say may have several. */
static void make_one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20)
            *text = ' ';
}

static bool is_known(const struct check *c, const char *name, int line, const char *text)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->findings[i].name, name) == 0 && c->findings[i].line == line &&
            strcmp(c->findings[i].text, text) == 0)
            return true;
    return false;
}

void check_add(struct check *c, enum check_severity severity, const char *name, int line,
               const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    struct check_finding *list = grow(c->findings, c->n, &c->cap, 16, sizeof *list);
    const char *rest = text ? without_place(c, text, &line) : NULL;
    char *own = rest ? strdup(rest) : NULL;
    free(text);
    c->findings = list ? list : c->findings;
    c->failed |= !list || !own;
    if (!list || !own) {
        free(own);
        return;
    }
    make_one_line(own);
    c->fresh = !is_known(c, name, line, own);
    if (!c->fresh) { /* of two entries for one table, for example */
        free(own);
        return;
    }
    c->findings[c->n++] = (struct check_finding){severity, name, line, own, NULL};
    c->counts[severity]++;
}

void check_remedy(struct check *c, const char *format, ...)
{
    va_list args;
    if (!c->fresh || c->n == 0 || c->findings[c->n - 1].remedy)
        return;
    struct check_finding *f = &c->findings[c->n - 1];
    va_start(args, format);
    if (vasprintf(&f->remedy, format, args) < 0) {
        f->remedy = NULL;
        c->failed = true;
    }
    va_end(args);
    if (f->remedy)
        make_one_line(f->remedy);
}

void check_add_err(struct check *c, const char *name, int line, const struct err *e)
{
    size_t before = c->n;
    check_add(c, CHECK_ERROR, name, line, "%s", e->text);
    if (*e->hint && c->n > before)
        check_remedy(c, "%s", e->hint);
}

bool check_has(const struct check *c, const char *name, const char *text)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->findings[i].name, name) == 0 &&
            strncmp(c->findings[i].text, text, strlen(text)) == 0)
            return true;
    return false;
}

int check_line(const struct check *c, const char *path)
{
    char whole[SCRIPT_TEXT_PATH];
    const struct script_text *t = &c->user.text;
    if (!t->text.data || strlen(path) > SCRIPT_TEXT_PATH - 30)
        return 0;
    return script_lines_find(t->text.data, t->text.len, script_text_field(t, path, whole));
}

/* ---- log lines ---- */

/* The SQL statement within a message, up to what is said of it. */
static void take_remedy(struct check *c, const char *text)
{
    static const char *const begins[] = {"CREATE UNIQUE INDEX", "CREATE INDEX", "ALTER TABLE"};
    static const char END[] = "REPLICA IDENTITY FULL";
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        const char *at = strstr(text, begins[i]), *end = at ? strstr(at, END) : NULL;
        if (at) {
            check_remedy(c, "%.*s", end ? (int)(end - at + (int)sizeof END - 1) : (int)strlen(at),
                         at);
            return;
        }
    }
}

static void take_line(enum log_level level, const char *text, void *arg)
{
    struct check *c = arg;
    size_t before = c->n;
    if (!c->diverted || level == LOG_DEBUG)
        return;
    check_add(c, level <= LOG_WARN ? CHECK_WARNING : CHECK_NOTE, c->diverted, 0, "%s", text);
    if (c->n > before)
        take_remedy(c, text);
}

void check_divert(struct check *c, const char *name)
{
    c->diverted = name;
    log_divert(take_line, c);
}

/* ---- printing ---- */

static void add_member(struct buf *b, const char *name, const char *value)
{
    buf_addf(b, ",\"%s\":", name);
    if (!value || !json_add_string(b, value, strlen(value)))
        buf_adds(b, "null");
}

static void add_json(struct buf *b, const struct check *c, const struct check_finding *f)
{
    buf_addf(b, "{\"severity\":\"%s\",\"check\":\"%s\"", severities[f->severity], f->name);
    add_member(b, "script", c->path);
    add_member(b, "file", file_of(c));
    if (f->line > 0)
        buf_addf(b, ",\"line\":%d", f->line);
    else
        buf_adds(b, ",\"line\":null");
    add_member(b, "message", f->text);
    add_member(b, "remedy", f->remedy);
    buf_adds(b, "}");
}

static void add_text(struct buf *b, const struct check *c, const struct check_finding *f)
{
    buf_adds(b, file_of(c));
    if (f->line > 0)
        buf_addf(b, ":%d", f->line);
    buf_addf(b, ": %s: %s", severities[f->severity], f->text);
    /* many a message ends in its remedy */
    if (f->remedy && !strstr(f->text, f->remedy))
        buf_addf(b, "; remedy: %s", f->remedy);
}

void check_print(struct check *c)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (; c->printed < c->n; c->printed++) {
        buf_clear(&b);
        (c->options->json ? add_json : add_text)(&b, c, &c->findings[c->printed]);
        if (buf_cstr(&b))
            puts(buf_cstr(&b));
    }
    fflush(stdout);
    buf_free(&b);
}
