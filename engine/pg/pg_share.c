/* pg_share: what the pipelines of a process share of a database: one for each URL. */
#include "pg/pg_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t shares_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct pg_share *shares;  /* under the mutex, as each one's users */
static int most = PG_ANY_NUMBER; /* connections of one; likewise */

static struct pg_share *find_share(const char *url)
{
    for (struct pg_share *s = shares; s; s = s->next)
        if (pg_url_is(&s->url, url))
            return s;
    return NULL;
}

static struct pg_share *make_share(const char *url)
{
    struct pg_share *s = calloc(1, sizeof *s);
    if (!s || !pg_url_init(&s->url, url)) {
        free(s);
        return NULL;
    }
    pthread_mutex_init(&s->mutex, NULL);
    s->turns.bound = s->most = most;
    s->next = shares;
    shares = s;
    return s;
}

/* It may be the one of a server that has not been refused yet. */
static struct pg_share *find_renewed(const char *url)
{
    struct err ignored;
    for (struct pg_share *s = shares; s; s = s->next)
        if (pg_url_read_again(&s->url, &ignored) && pg_url_is(&s->url, url))
            return s;
    return NULL;
}

struct pg_share *pg_share_get(const char *url)
{
    pthread_mutex_lock(&shares_mutex);
    struct pg_share *s = find_share(url);
    if (!s)
        s = find_renewed(url);
    if (!s)
        s = make_share(url);
    if (s)
        s->users++;
    pthread_mutex_unlock(&shares_mutex);
    return s;
}

/* Whether the server was the last one; the share then is nobody's but the caller's. */
static bool was_last(struct pg_share *s)
{
    pthread_mutex_lock(&shares_mutex);
    bool last = --s->users == 0;
    for (struct pg_share **at = &shares; last && *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    pthread_mutex_unlock(&shares_mutex);
    return last;
}

void pg_share_leave(struct pg_server *server)
{
    struct pg_share *s = server->share;
    if (!s)
        return;
    bool last = was_last(s);
    pg_share_close_idle(s, last ? NULL : server, 0);
    if (!last)
        return;
    assert(s->open == 0); /* each was released, or discarded, before its server went */
    pthread_mutex_destroy(&s->mutex);
    pg_url_free(&s->url);
    free(s);
}

void pg_share_set_most(int connections)
{
    pthread_mutex_lock(&shares_mutex);
    most = connections;
    pthread_mutex_unlock(&shares_mutex);
}

/* ---- idle connections ---- */

void pg_share_close_idle(struct pg_share *s, const struct pg_server *script_of, int64_t before_us)
{
    struct pg *old = NULL;
    pthread_mutex_lock(&s->mutex);
    for (struct pg **at = &s->idle; *at;) {
        struct pg *pg = *at;
        if ((script_of && pg->script_of != script_of) || (before_us && pg->idle_from > before_us)) {
            at = &pg->next;
            continue;
        }
        *at = pg->next;
        pg->next = old;
        old = pg;
        s->open--;
    }
    pthread_mutex_unlock(&s->mutex);
    for (struct pg *next; old; old = next) {
        next = old->next;
        pg_close(old);
    }
}
