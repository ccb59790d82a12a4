#include "store/request.h"

#include "base/buf.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

static const char *const types[REQUEST_TYPES] = {"hello", "keys",     "no more",  "welcome",
                                                 "more",  "progress", "rejected", "end"};
static const char *const asks[REQUEST_ASKS] = {"keys", "sweep", "set"};
static const char *const kinds[] = {[ERR_NONE] = "none",
                                    [ERR_PASSING] = "passing",
                                    [ERR_FINAL] = "final",
                                    [ERR_USAGE] = "usage",
                                    [ERR_STOPPED] = "stopped"};

enum field_kind { FIELD_WORD, FIELD_INT, FIELD_BOOL, FIELD_TEXT };

#define WORD(name, list)                                                                           \
    {                                                                                              \
#name, FIELD_WORD, offsetof(struct request_message, name), list,                           \
            sizeof list / sizeof *list                                                             \
    }
#define PLAIN(name, kind)                                                                          \
    {                                                                                              \
#name, kind, offsetof(struct request_message, name), NULL, 0                               \
    }

/* A word is one of a list, and its number in the struct. What is 0, false or NULL is left out. */
static const struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
    const char *const *words;
    size_t n_words;
} fields[] = {
    WORD(type, types),
    WORD(ask, asks),
    WORD(error, kinds),
    PLAIN(version, FIELD_INT),
    PLAIN(pid, FIELD_INT),
    PLAIN(status, FIELD_INT),
    PLAIN(allow_deletes, FIELD_BOOL),
    PLAIN(no_rows, FIELD_BOOL),
    PLAIN(any_routing, FIELD_BOOL),
    PLAIN(older, FIELD_BOOL),
    PLAIN(pipeline, FIELD_TEXT),
    PLAIN(index, FIELD_TEXT),
    PLAIN(script, FIELD_TEXT),
    PLAIN(time, FIELD_TEXT),
    PLAIN(key, FIELD_TEXT),
    PLAIN(text, FIELD_TEXT),
    PLAIN(hint, FIELD_TEXT),
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* The numbers of "counts", in this order. */
enum { COUNTS = 10 };
static void count_fields(struct counts *c, uint64_t *out[COUNTS])
{
    uint64_t *all[COUNTS] = {&c->indexed,       &c->deleted,  &c->superseded, &c->rejected,
                             &c->bytes,         &c->requests, &c->unchanged,  &c->repeated,
                             &c->retried_items, &c->dropped};
    memcpy(out, all, sizeof all);
}

void request_message_free(struct request_message *m)
{
    for (size_t i = 0; i < FIELDS; i++)
        if (fields[i].kind == FIELD_TEXT)
            free(*(char **)((char *)m + fields[i].offset));
    keylist_free(&m->keys);
    *m = (struct request_message){0};
}

/* ---- writing ---- */

static void add_name(struct buf *out, const char *name)
{
    buf_addf(out, "%s\"%s\":", out->data[out->len - 1] == '{' ? "" : ",", name);
}

static bool add_text(struct buf *out, const char *text)
{
    return json_add_string(out, text, strlen(text));
}

static bool add_field(struct buf *out, const struct field *f, const void *at)
{
    bool is_type = f->offset == offsetof(struct request_message, type);
    switch (f->kind) {
    case FIELD_WORD:
        if (*(const int64_t *)at == 0 && !is_type)
            return true;
        add_name(out, f->name);
        return add_text(out, f->words[*(const int64_t *)at]);
    case FIELD_INT:
        if (*(const int64_t *)at == 0)
            return true;
        add_name(out, f->name);
        json_add_int(out, *(const int64_t *)at);
        return true;
    case FIELD_BOOL:
        if (*(const bool *)at) {
            add_name(out, f->name);
            buf_adds(out, "true");
        }
        return true;
    case FIELD_TEXT:
        if (!*(char *const *)at)
            return true;
        add_name(out, f->name);
        return add_text(out, *(char *const *)at);
    }
    return true;
}

static void add_counts(struct buf *out, const struct counts *counts)
{
    struct counts copy = *counts;
    uint64_t *all[COUNTS];
    count_fields(&copy, all);
    add_name(out, "counts");
    for (int i = 0; i < COUNTS; i++) {
        buf_addc(out, i ? ',' : '[');
        json_add_int(out, (int64_t)*all[i]);
    }
    buf_addc(out, ']');
}

static bool add_keys(struct buf *out, const struct keylist *keys)
{
    bool ok = true;
    add_name(out, "keys");
    buf_addc(out, '[');
    for (size_t i = 0; ok && i < keys->n; i++) {
        if (i > 0)
            buf_addc(out, ',');
        ok = add_text(out, keys->keys[i]);
    }
    buf_addc(out, ']');
    return ok;
}

bool request_write(struct buf *out, const struct request_message *m)
{
    size_t before = out->len;
    bool ok = buf_addc(out, '{');
    for (size_t i = 0; ok && i < FIELDS; i++)
        ok = add_field(out, &fields[i], (const char *)m + fields[i].offset) && !out->failed;
    if (ok && (m->type == REQUEST_PROGRESS || m->type == REQUEST_END))
        add_counts(out, &m->counts);
    if (ok && m->type == REQUEST_KEYS)
        ok = add_keys(out, &m->keys);
    buf_adds(out, "}\n");
    if (ok && !out->failed)
        return true;
    buf_cut(out, before);
    return false;
}

/* ---- reading ---- */

static bool damaged(const char *what, struct err *e)
{
    return err_set(e, ERR_FINAL, "cannot read a message of the other process: %s", what);
}

static bool read_word(const struct json_reader *r, const struct field *f, int64_t *out)
{
    for (size_t i = 0; r->token == JSON_STRING && i < f->n_words; i++)
        if (json_is(r, f->words[i])) {
            *out = (int64_t)i;
            return true;
        }
    return false;
}

/* NULL: the string holds a zero byte, or there is no memory. */
static char *take_string(const struct json_reader *r)
{
    return r->len > 0 && memchr(r->text, '\0', r->len) ? NULL
           : r->len > 0                                ? strndup(r->text, r->len)
                                                       : strdup("");
}

static bool read_text(const struct json_reader *r, char **out)
{
    if (r->token != JSON_STRING)
        return false;
    free(*out); /* of several fields of that name, the last one counts */
    return (*out = take_string(r)) != NULL;
}

static bool read_field(struct json_reader *r, const struct field *f, void *at, struct err *e)
{
    bool ok = false;
    json_next(r);
    switch (f->kind) {
    case FIELD_WORD:
        ok = read_word(r, f, at);
        break;
    case FIELD_INT:
        ok = json_int(r, at);
        break;
    case FIELD_BOOL:
        *(bool *)at = r->token == JSON_TRUE;
        ok = r->token == JSON_TRUE || r->token == JSON_FALSE;
        break;
    case FIELD_TEXT:
        ok = read_text(r, at);
        break;
    }
    return ok || damaged(f->name, e);
}

static bool read_counts(struct json_reader *r, struct counts *counts, struct err *e)
{
    uint64_t *all[COUNTS];
    int64_t n;
    int i = 0;
    count_fields(counts, all);
    if (json_next(r) != JSON_ARRAY)
        return damaged("counts", e);
    while (json_next(r) == JSON_NUMBER) {
        if (!json_int(r, &n) || n < 0)
            return damaged("counts", e);
        if (i < COUNTS)
            *all[i++] = (uint64_t)n;
    }
    return r->token == JSON_ARRAY_END || damaged("counts", e);
}

static bool read_keys(struct json_reader *r, struct keylist *keys, struct err *e)
{
    if (json_next(r) != JSON_ARRAY)
        return damaged("keys", e);
    while (json_next(r) == JSON_STRING) {
        char *key = take_string(r);
        bool ok = key && *key && keys->n < REQUEST_PAGE_KEYS && keylist_add(keys, key);
        free(key);
        if (!ok)
            return damaged("keys", e);
    }
    return r->token == JSON_ARRAY_END || damaged("keys", e);
}

static bool read_member(struct json_reader *r, struct request_message *m, struct err *e)
{
    for (size_t i = 0; i < FIELDS; i++)
        if (json_is(r, fields[i].name))
            return read_field(r, &fields[i], (char *)m + fields[i].offset, e);
    if (json_is(r, "counts"))
        return read_counts(r, &m->counts, e);
    if (json_is(r, "keys"))
        return read_keys(r, &m->keys, e);
    return json_skip(r) || damaged("not JSON", e);
}

static bool read_message(struct json_reader *r, struct request_message *m, struct err *e)
{
    m->type = REQUEST_TYPES;
    if (json_next(r) != JSON_OBJECT)
        return damaged("not a JSON object", e);
    while (json_next(r) == JSON_KEY)
        if (!read_member(r, m, e))
            return false;
    if (r->token != JSON_OBJECT_END || !json_end(r))
        return damaged("not a JSON object", e);
    return m->type != REQUEST_TYPES || damaged("no type", e);
}

bool request_read(struct request_message *m, const char *line, size_t len, struct err *e)
{
    struct json_reader r;
    json_open(&r, line, len);
    bool ok = read_message(&r, m, e);
    json_close(&r);
    if (!ok)
        request_message_free(m);
    return ok;
}

/* ---- errors ---- */

struct request_message request_end(const struct err *e)
{
    struct request_message m = {.type = REQUEST_END};
    if (!e || e->kind == ERR_NONE)
        return m;
    m.error = e->kind;
    m.text = (char *)(uintptr_t)e->text; /* borrowed: it is only written */
    m.hint = *e->hint ? (char *)(uintptr_t)e->hint : NULL;
    return m;
}

void request_error(const struct request_message *m, struct err *e)
{
    err_set(e, (enum err_kind)m->error, "%s", m->text ? m->text : "unknown");
    if (m->hint)
        err_hint(e, "%s", m->hint);
}
