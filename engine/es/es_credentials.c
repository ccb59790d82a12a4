#include "es/es_credentials.h"

#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/renewal.h"
#include "base/secret.h"
#include "base/secret_text.h"
#include "base/text.h"
#include "es/es_url.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct es_credentials {
    pthread_mutex_t mutex; /* for what follows */
    /* as the script has them */
    struct secret_text url, given[ES_SECURITY_TEXTS];
    char *places[ES_SECURITY_TEXTS + 1]; /* owned: see es_security.h */
    bool verify, secured;                /* secured: with given and the environment */
    struct es_identity *now;
    atomic_bool accepted;
};

/* ---- an identity ---- */

void es_identity_drop(const struct es_identity *id)
{
    struct es_identity *mine = (struct es_identity *)id;
    if (!id || atomic_fetch_sub(&mine->users, 1) > 1)
        return;
    es_security_free(&mine->security);
    es_urls_free(mine->urls, mine->n_urls);
    free(mine);
}

enum { CERTIFICATE_MAX = 1 << 20 }; /* bytes of a file; the system's list has less */

static uint64_t add_file(uint64_t hash, const char *path)
{
    struct buf b;
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0)
        return hash_byte(hash, 0);
    buf_init(&b, CERTIFICATE_MAX);
    file_read(fd, &b);
    hash = hash_bytes(hash_byte(hash, 1), b.data, b.len);
    buf_free(&b);
    close(fd);
    return hash;
}

static uint64_t hash_certificates(const struct es_security *s)
{
    return add_file(add_file(add_file(HASH_START, s->ca), s->client_cert), s->client_key);
}

static bool user_in_url(const struct es_identity *id)
{
    for (size_t i = 0; i < id->n_urls; i++)
        if (id->urls[i].userpwd)
            return true;
    return false;
}

static struct es_security as_given(const struct es_credentials *c)
{
    struct es_security s = {.verify = c->verify};
    for (size_t i = 0; i < ES_SECURITY_TEXTS; i++)
        *es_security_text(&s, i) = c->given[i].text;
    return s;
}

/* NULL: e says why. */
static struct es_identity *make_identity(const struct es_credentials *c, struct err *e)
{
    struct es_identity *id = calloc(1, sizeof *id);
    if (!id) {
        err_memory(e);
        return NULL;
    }
    atomic_init(&id->users, 1);
    struct es_security given = as_given(c);
    id->security.verify = true;
    if (es_urls_parse(c->url.text, &id->urls, &id->n_urls, e) &&
        (!c->secured || es_security_read(&id->security, &given, user_in_url(id), e))) {
        id->certificates = hash_certificates(&id->security);
        return id;
    }
    es_identity_drop(id);
    return NULL;
}

static bool same_nodes(const struct es_identity *a, const struct es_identity *b)
{
    bool same = a->n_urls == b->n_urls;
    for (size_t i = 0; same && i < a->n_urls; i++)
        same = strcmp(a->urls[i].text, b->urls[i].text) == 0;
    return same;
}

static bool same_users(const struct es_identity *a, const struct es_identity *b)
{
    for (size_t i = 0; i < a->n_urls; i++) {
        const char *x = a->urls[i].userpwd, *y = b->urls[i].userpwd;
        if (x != y && (!x || !y || strcmp(x, y) != 0))
            return false;
    }
    return true;
}

/* ---- the credentials ---- */

static void free_texts(struct es_credentials *c)
{
    secret_text_free(&c->url);
    for (size_t i = 0; i < ES_SECURITY_TEXTS; i++)
        secret_text_free(&c->given[i]);
    for (size_t i = 0; i <= ES_SECURITY_TEXTS; i++)
        free(c->places[i]);
}

void es_credentials_free(struct es_credentials *c)
{
    if (!c)
        return;
    free_texts(c);
    es_identity_drop(c->now);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

/* c has no lock yet: it is a draft of what a struct es_credentials will hold. */
static bool fill(struct es_credentials *c, const char *url, const struct es_security *given,
                 struct err *e)
{
    struct es_security none = {.verify = true}, copy = given ? *given : none;
    c->secured = given;
    c->verify = copy.verify;
    bool ok = secret_text_set(&c->url, url);
    for (size_t i = 0; ok && i < ES_SECURITY_TEXTS; i++)
        ok = secret_text_set(&c->given[i], *es_security_text(&copy, i));
    for (size_t i = 0; ok && i <= ES_SECURITY_TEXTS; i++)
        ok = text_set(&c->places[i], copy.places[i]);
    return ok ? (c->now = make_identity(c, e)) != NULL : err_memory(e);
}

struct es_credentials *es_credentials_new(const char *url, struct err *e)
{
    struct es_credentials *c = calloc(1, sizeof *c);
    if (!c) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&c->mutex, NULL);
    if (fill(c, url, NULL, e))
        return c;
    es_credentials_free(c);
    return NULL;
}

/* Exchanges all but the lock, and frees what c had. */
static void adopt(struct es_credentials *c, struct es_credentials *draft)
{
    pthread_mutex_lock(&c->mutex);
    struct es_credentials old = *c;
    c->url = draft->url;
    memcpy(c->given, draft->given, sizeof c->given);
    memcpy(c->places, draft->places, sizeof c->places);
    c->verify = draft->verify;
    c->secured = draft->secured;
    c->now = draft->now;
    pthread_mutex_unlock(&c->mutex);
    free_texts(&old);
    es_identity_drop(old.now);
}

bool es_credentials_replace(struct es_credentials *c, const char *url,
                            const struct es_security *given, struct err *e)
{
    struct es_credentials draft = {0};
    bool ok = fill(&draft, url, given, e);
    const struct es_identity *before = es_credentials_take(c);
    if (ok && !same_nodes(before, draft.now))
        ok = err_set(e, ERR_USAGE, "'sink.url' has changed: restart to use the new value");
    es_identity_drop(before);
    if (ok) {
        adopt(c, &draft);
        return true;
    }
    free_texts(&draft);
    es_identity_drop(draft.now);
    return false;
}

bool es_credentials_secure(struct es_credentials *c, const struct es_security *given, struct err *e)
{
    return es_credentials_replace(c, c->url.text, given, e);
}

const struct es_identity *es_credentials_take(struct es_credentials *c)
{
    pthread_mutex_lock(&c->mutex);
    struct es_identity *id = c->now;
    atomic_fetch_add(&id->users, 1);
    pthread_mutex_unlock(&c->mutex);
    return id;
}

bool es_credentials_is_current(struct es_credentials *c, const struct es_identity *id)
{
    pthread_mutex_lock(&c->mutex);
    bool current = c->now == id;
    pthread_mutex_unlock(&c->mutex);
    return current;
}

void es_credentials_accept(struct es_credentials *c)
{
    if (!c->accepted)
        c->accepted = true;
}

bool es_credentials_were_accepted(const struct es_credentials *c)
{
    return c->accepted;
}

/* ---- when they are refused ---- */

static bool renew_texts(struct es_credentials *c, struct err *e)
{
    bool changed;
    bool ok = secret_text_renew(&c->url, &changed, e);
    for (size_t i = 0; ok && i < ES_SECURITY_TEXTS; i++)
        ok = secret_text_renew(&c->given[i], &changed, e);
    return ok;
}

/* The first thing that differs, for the log; NULL: nothing does. */
static const char *find_change(const struct es_identity *a, const struct es_identity *b)
{
    if (!same_users(a, b))
        return "sink.url";
    const char *field = es_security_changed(&a->security, &b->security);
    return field ? field : a->certificates != b->certificates ? "the certificates" : NULL;
}

/* NULL: e says why. */
static struct es_identity *read_identity(struct es_credentials *c, struct err *e)
{
    struct es_identity *fresh = renew_texts(c, e) ? make_identity(c, e) : NULL;
    if (!fresh || same_nodes(c->now, fresh))
        return fresh;
    es_identity_drop(fresh);
    renewal_elsewhere("sink.url", &c->url, e);
    return NULL;
}

/* The file that the field is read from, into out; "": none, or one of several certificates. */
static void find_file(const struct es_credentials *c, const struct es_identity *id,
                      const char *field, char *out, size_t size)
{
    out[0] = '\0';
    if (strcmp(field, "sink.url") == 0)
        secret_text_file(&c->url, out, size);
    for (size_t i = 0; i < ES_SECURITY_TEXTS; i++)
        if (strcmp(field, es_security_field(i)) == 0 &&
            !es_security_file(&id->security, i, out, size))
            secret_text_file(&c->given[i], out, size);
}

/* Under the lock. */
static bool read_again(struct es_credentials *c)
{
    struct err e;
    char path[200];
    struct es_identity *fresh = read_identity(c, &e);
    if (!fresh)
        renewal_failed(&e);
    const char *change = fresh ? find_change(c->now, fresh) : NULL;
    if (!change) {
        es_identity_drop(fresh);
        return false;
    }
    find_file(c, fresh, change, path, sizeof path);
    renewal_done("the search server", change, path);
    es_identity_drop(c->now);
    c->now = fresh;
    return true;
}

bool es_credentials_renew(struct es_credentials *c, const struct es_identity *used)
{
    pthread_mutex_lock(&c->mutex);
    bool another = c->now != used || read_again(c);
    pthread_mutex_unlock(&c->mutex);
    return another;
}

/* ---- where they come from ---- */

struct places {
    char *out; /* "variable A and file 'B'" */
    size_t size;
};

static void add_place(struct places *p, const char *place)
{
    size_t len = strlen(p->out);
    if (len == 0 || !strstr(p->out, place)) /* user and password may be in one URL */
        snprintf(p->out + len, p->size - len, "%s%s", len > 0 ? " and " : "", place);
}

/* A text of the script: the file that it is read from, or else its place there. */
static void add_text_place(struct places *p, const struct secret_text *text, const char *in_script)
{
    char path[150], place[200];
    bool is_file = secret_text_file(text, path, sizeof path);
    snprintf(place, sizeof place, is_file ? "file '%s'" : "%s", is_file ? path : in_script);
    add_place(p, place);
}

static const char *in_script(const struct es_credentials *c, size_t i, const char *field)
{
    return c->places[i] ? c->places[i] : field;
}

static void add_setting(struct places *p, const struct es_credentials *c, size_t i)
{
    char place[170];
    const char *field;
    if (!es_security_place(&c->now->security, i, &field, place, sizeof place))
        return;
    if (strcmp(place, field) == 0)
        add_text_place(p, &c->given[i], in_script(c, i, field));
    else
        add_place(p, place);
}

void es_credentials_places(struct es_credentials *c, char *out, size_t size)
{
    struct places p = {.out = out, .size = size};
    out[0] = '\0';
    pthread_mutex_lock(&c->mutex);
    for (size_t i = 0; c->secured && i < ES_SECURITY_TEXTS; i++)
        add_setting(&p, c, i);
    if (user_in_url(c->now))
        add_text_place(&p, &c->url, in_script(c, ES_SECURITY_TEXTS, "sink.url"));
    pthread_mutex_unlock(&c->mutex);
}
