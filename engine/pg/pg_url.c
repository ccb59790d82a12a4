/* pg_url: a connection string of libpq's, and the password in it, which may change. */
#include "pg/pg_internal.h"

#include "base/err.h"
#include "base/renewal.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

bool pg_url_is_whole(const char *url)
{
    return strchr(url, '=') || strncmp(url, "postgresql://", 13) == 0 ||
           strncmp(url, "postgres://", 11) == 0;
}

/* ---- the password ---- */

/* Finds the password in the URL, as written; NULL: none. */
static const char *find_written_password(const char *url, size_t *len)
{
    const char *authority = strstr(url, "://");
    if (!authority)
        return NULL;
    authority += 3;
    size_t user_info = strcspn(authority, "@/?");
    const char *colon = memchr(authority, ':', user_info);
    if (authority[user_info] == '@' && colon) {
        *len = (size_t)(authority + user_info - (colon + 1));
        return colon + 1;
    }
    const char *query = strchr(authority, '?');
    const char *name = query ? strstr(query, "password=") : NULL;
    if (!name)
        return NULL;
    *len = strcspn(name + 9, "&");
    return name + 9;
}

static const char *find_password(const PQconninfoOption *list)
{
    for (; list && list->keyword; list++)
        if (strcmp(list->keyword, "password") == 0)
            return list->val && list->val[0] ? list->val : NULL;
    return NULL;
}

static bool read_secrets(const char *url, char *secrets[2])
{
    PQconninfoOption *given = pg_url_is_whole(url) ? PQconninfoParse(url, NULL) : NULL;
    size_t len = 0;
    const char *written = find_written_password(url, &len), *password = find_password(given);
    secrets[0] = password ? strdup(password) : NULL;
    secrets[1] = written ? strndup(written, len) : NULL;
    bool ok = (secrets[0] || !password) && (secrets[1] || !written);
    PQconninfoFree(given);
    return ok;
}

/* Both lists have all of libpq's keywords, in one order. */
static bool same_but_for_user(const PQconninfoOption *a, const PQconninfoOption *b)
{
    for (; a->keyword && b->keyword; a++, b++)
        if (strcmp(a->keyword, "user") != 0 && strcmp(a->keyword, "password") != 0 &&
            !text_same(a->val, b->val))
            return false;
    return true;
}

static bool is_same_place(const char *a, const char *b)
{
    if (strcmp(a, b) == 0)
        return true;
    if (!pg_url_is_whole(a) || !pg_url_is_whole(b))
        return false;
    PQconninfoOption *x = PQconninfoParse(a, NULL), *y = PQconninfoParse(b, NULL);
    bool same = x && y && same_but_for_user(x, y);
    PQconninfoFree(x);
    PQconninfoFree(y);
    return same;
}

/* ---- the URL as it is now ---- */

void pg_url_free(struct pg_url *u)
{
    secret_text_free(&u->now);
    free(u->secrets[0]);
    free(u->secrets[1]);
    pthread_mutex_destroy(&u->mutex);
}

bool pg_url_init(struct pg_url *u, const char *text)
{
    *u = (struct pg_url){0};
    pthread_mutex_init(&u->mutex, NULL);
    if (secret_text_set(&u->now, text) && read_secrets(text, u->secrets))
        return true;
    pg_url_free(u);
    return false;
}

/* Takes text over. Under the lock. */
static bool set(struct pg_url *u, struct secret_text *text, struct err *e)
{
    char *secrets[2];
    if (!is_same_place(u->now.text, text->text))
        return err_set(e, ERR_USAGE, "'source.url' has changed: restart to use the new value");
    bool ok = read_secrets(text->text, secrets);
    for (int i = 0; i < 2; i++) {
        free(ok ? u->secrets[i] : secrets[i]);
        if (ok)
            u->secrets[i] = secrets[i];
    }
    if (!ok)
        return err_memory(e);
    secret_text_free(&u->now);
    u->now = *text;
    *text = (struct secret_text){0};
    return true;
}

/* Under the lock. */
static bool read_again(struct pg_url *u, struct err *e)
{
    struct secret_text fresh;
    bool changed = false;
    if (!secret_text_copy(&fresh, &u->now))
        return err_memory(e);
    bool ok = secret_text_renew(&fresh, &changed, e);
    if (ok && changed && !is_same_place(u->now.text, fresh.text))
        ok = renewal_elsewhere("source.url", &fresh, e);
    ok = ok && (!changed || set(u, &fresh, e));
    secret_text_free(&fresh);
    return ok;
}

bool pg_url_read_again(struct pg_url *u, struct err *e)
{
    pthread_mutex_lock(&u->mutex);
    bool ok = read_again(u, e);
    pthread_mutex_unlock(&u->mutex);
    return ok;
}

bool pg_url_renew(struct pg_url *u, const char *used)
{
    struct err e;
    char path[200] = "";
    pthread_mutex_lock(&u->mutex);
    bool before = strcmp(u->now.text, used) != 0, ok = before || read_again(u, &e),
         another = strcmp(u->now.text, used) != 0;
    secret_text_file(&u->now, path, sizeof path);
    pthread_mutex_unlock(&u->mutex);
    if (!ok)
        renewal_failed(&e);
    else if (another && !before)
        renewal_done("PostgreSQL", "source.url", path);
    return another;
}

bool pg_url_replace(struct pg_url *u, const char *text, struct err *e)
{
    struct secret_text fresh;
    if (!secret_text_set(&fresh, text))
        return err_memory(e);
    pthread_mutex_lock(&u->mutex);
    bool ok = set(u, &fresh, e);
    pthread_mutex_unlock(&u->mutex);
    secret_text_free(&fresh);
    return ok;
}

bool pg_url_is(struct pg_url *u, const char *text)
{
    pthread_mutex_lock(&u->mutex);
    bool same = strcmp(u->now.text, text) == 0;
    pthread_mutex_unlock(&u->mutex);
    return same;
}

char *pg_url_copy(struct pg_url *u)
{
    pthread_mutex_lock(&u->mutex);
    char *text = strdup(u->now.text);
    pthread_mutex_unlock(&u->mutex);
    return text;
}

bool pg_url_file(struct pg_url *u, char *out, size_t size)
{
    pthread_mutex_lock(&u->mutex);
    bool found = secret_text_file(&u->now, out, size);
    pthread_mutex_unlock(&u->mutex);
    return found;
}

void pg_url_hide(struct pg_url *u, void (*hide)(void *arg, const char *secret), void *arg)
{
    pthread_mutex_lock(&u->mutex);
    for (int i = 0; i < 2; i++)
        if (u->secrets[i])
            hide(arg, u->secrets[i]);
    pthread_mutex_unlock(&u->mutex);
}
