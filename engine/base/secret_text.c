#include "base/secret_text.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

struct secret_part {
    struct secret_part *next;
    char *name, *value; /* owned */
};

static void free_parts(struct secret_part *p)
{
    for (struct secret_part *next; p; p = next) {
        next = p->next;
        free(p->name);
        free(p->value);
        free(p);
    }
}

void secret_text_free(struct secret_text *t)
{
    free(t->text);
    free_parts(t->parts);
    *t = (struct secret_text){0};
}

/* ---- finding the secrets ---- */

/* Where value is in text; NULL: nowhere, or in two places, of which only one may be the secret. */
static char *find_once(char *text, const char *value)
{
    char *at = strstr(text, value);
    return at && !strstr(at + 1, value) ? at : NULL;
}

static bool add_part(struct secret_text *t, const char *name, const char *value)
{
    struct secret_part *p = calloc(1, sizeof *p);
    if (!p)
        return false;
    p->next = t->parts;
    t->parts = p;
    return text_set(&p->name, name) && text_set(&p->value, value);
}

static bool add_if_inside(void *arg, const char *name, const char *value)
{
    struct secret_text *t = arg;
    return !find_once(t->text, value) || add_part(t, name, value);
}

/* A secret that is the whole text is the only one: another one may be a part of its value. */
static void keep_whole(struct secret_text *t)
{
    struct secret_part **at = &t->parts;
    while (*at && strcmp((*at)->value, t->text) != 0)
        at = &(*at)->next;
    struct secret_part *whole = *at;
    if (!whole)
        return;
    *at = whole->next;
    whole->next = NULL;
    free_parts(t->parts);
    t->parts = whole;
}

bool secret_text_set(struct secret_text *t, const char *text)
{
    *t = (struct secret_text){0};
    if (!text)
        return true;
    if (text_set(&t->text, text) && secret_each_reading(add_if_inside, t)) {
        keep_whole(t);
        return true;
    }
    secret_text_free(t);
    return false;
}

bool secret_text_copy(struct secret_text *t, const struct secret_text *from)
{
    *t = (struct secret_text){0};
    bool ok = text_set(&t->text, from->text);
    for (const struct secret_part *p = from->parts; ok && p; p = p->next)
        ok = add_part(t, p->name, p->value);
    if (!ok)
        secret_text_free(t);
    return ok;
}

/* ---- reading them again ---- */

static bool replace(struct secret_text *t, struct secret_part *p, const char *now, struct err *e)
{
    char *at = find_once(t->text, p->value);
    struct buf b;
    buf_init(&b, strlen(t->text) + strlen(now) + 1);
    if (!at) /* another secret's value has become like it */
        return true;
    buf_add(&b, t->text, (size_t)(at - t->text));
    buf_adds(&b, now);
    buf_adds(&b, at + strlen(p->value));
    const char *whole = buf_cstr(&b);
    bool ok = (whole && text_set(&t->text, whole) && text_set(&p->value, now)) || err_memory(e);
    buf_free(&b);
    return ok;
}

static bool renew_part(struct secret_text *t, struct secret_part *p, bool *changed, struct err *e)
{
    struct buf now;
    bool found = false;
    buf_init(&now, SECRET_MAX);
    bool ok = secret_read(p->name, &now, &found, e);
    const char *value = ok && found ? buf_cstr(&now) : NULL;
    if (value && strcmp(value, p->value) != 0) {
        *changed = true;
        ok = replace(t, p, value, e);
    }
    buf_free(&now);
    return ok;
}

bool secret_text_renew(struct secret_text *t, bool *changed, struct err *e)
{
    struct secret_text fresh;
    *changed = false;
    if (!t->parts)
        return true;
    if (!secret_text_copy(&fresh, t))
        return err_memory(e);
    bool ok = true;
    for (struct secret_part *p = fresh.parts; ok && p; p = p->next)
        ok = renew_part(&fresh, p, changed, e);
    *changed = ok && *changed;
    if (*changed) {
        struct secret_text old = *t;
        *t = fresh;
        fresh = old;
    }
    secret_text_free(&fresh);
    return ok;
}

bool secret_text_file(const struct secret_text *t, char *out, size_t size)
{
    for (const struct secret_part *p = t->parts; p; p = p->next)
        if (secret_file(p->name, out, size))
            return true;
    return false;
}
