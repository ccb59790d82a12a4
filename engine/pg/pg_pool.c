#include "pg/pg_pool.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"
#include "pg/pg_internal.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    OVER_MS = 250,               /* how often a wait calls over() */
    IDLE_US = 10 * 1000 * 1000,  /* unused: then it is closed when somebody comes by */
    REST_US = 2 * 1000 * 1000,   /* likewise, when a thread wants none for a while */
    AGAIN_US = 10 * 1000 * 1000, /* after a refusal, until one more than then is tried */
};

/* Connections that the calling thread has now, from any pool. */
static _Thread_local int held;

void pg_pool_init(struct pg_pool *p, struct pg_server *server)
{
    *p = (struct pg_pool){.server = server};
}

void pg_pool_set_most(int connections)
{
    pg_share_set_most(connections);
}

void pg_pool_rest(struct pg_pool *p)
{
    if (p->server)
        pg_share_close_idle(p->server->share, NULL, clock_mono_us() - REST_US);
}

void pg_pool_free(struct pg_pool *p)
{
    if (p->server && p->server->share)
        pg_share_close_idle(p->server->share, NULL, 0);
}

bool pg_pool_is_wanted(const struct pg_pool *p)
{
    struct pg_share *s = p->server->share;
    pthread_mutex_lock(&s->mutex);
    bool wanted = s->turns.first;
    pthread_mutex_unlock(&s->mutex);
    return wanted;
}

int pg_pool_idle(const struct pg_pool *p)
{
    struct pg_share *s = p->server->share;
    int n = 0;
    pthread_mutex_lock(&s->mutex);
    for (const struct pg *pg = s->idle; pg; pg = pg->next)
        n++;
    pthread_mutex_unlock(&s->mutex);
    return n;
}

/* ---- turns ---- */

/* Wakes those who have a turn now. Under the mutex, after each change. */
static void wake(struct pg_share *s)
{
    const struct pg_turn *turn;
    while ((turn = pg_turns_next(&s->turns)))
        eventfd_write(turn->wake, 1);
}

/* A while after a refusal one more connection is tried, and then another one. Under the mutex. */
static void allow_more(struct pg_share *s)
{
    int64_t now = clock_mono_us();
    if (s->turns.bound >= s->most || now - s->crowded_us < AGAIN_US)
        return;
    s->turns.bound++;
    s->crowded_us = now;
    wake(s);
}

static void give_back(struct pg_share *s, enum pg_class class)
{
    pthread_mutex_lock(&s->mutex);
    pg_turns_give_back(&s->turns, class);
    wake(s);
    pthread_mutex_unlock(&s->mutex);
}

/* Waits until the turn is given, which wakes turn->wake. */
static bool await(const struct pg_pool *p, const struct pg_turn *turn, struct err *e)
{
    enum stop_wait waited;
    do
        waited = stop_wait_fd(turn->wake, POLLIN, p->over ? OVER_MS : -1);
    while (waited == STOP_TIMEOUT && !p->over(p->arg));
    if (waited == STOP_READY)
        return true;
    struct pg_share *s = p->server->share;
    pthread_mutex_lock(&s->mutex);
    bool waits = pg_turns_withdraw(&s->turns, turn);
    pthread_mutex_unlock(&s->mutex);
    if (!waits) /* it was given meanwhile */
        give_back(s, turn->class);
    return waited == STOP_ASKED
               ? stop_err(e)
               : err_set(e, ERR_PASSING, "no longer waiting for a connection to PostgreSQL %s",
                         p->server->label);
}

static bool take_turn(const struct pg_pool *p, struct pg_turn *turn, struct err *e)
{
    struct pg_share *s = p->server->share;
    turn->wake = -1;
    pthread_mutex_lock(&s->mutex);
    allow_more(s);
    bool given = pg_turns_ask(&s->turns, turn);
    if (!given && (turn->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        pg_turns_withdraw(&s->turns, turn);
    pthread_mutex_unlock(&s->mutex);
    if (given)
        return true;
    if (turn->wake < 0)
        return err_set(e, ERR_PASSING, "could not wait for a connection to PostgreSQL %s: %s",
                       p->server->label, strerror(errno));
    log_debug("waiting for a connection to PostgreSQL %s", p->server->label);
    bool ok = await(p, turn, e);
    pthread_mutex_lock(&s->mutex); /* whoever wakes it may still be about to return */
    close(turn->wake);
    pthread_mutex_unlock(&s->mutex);
    return ok;
}

/* ---- connections ---- */

/* Nothing was requested on an idle connection: if there is something to read, the server has closed
 * the connection. */
static bool is_quiet(const struct pg *pg)
{
    struct pollfd fd = {.fd = PQsocket(pg->conn), .events = POLLIN};
    return poll(&fd, 1, 0) == 0;
}

/* Takes one from the list; last: the one that has been idle longest, of any kind. */
static struct pg *take_idle(struct pg_share *s, const struct pg_server *script_of, bool last)
{
    struct pg **found = NULL;
    for (struct pg **at = &s->idle; *at; at = &(*at)->next) {
        bool fits = last || (*at)->script_of == script_of;
        if (fits)
            found = at;
        if (fits && !last)
            break;
    }
    if (!found)
        return NULL;
    struct pg *pg = *found;
    *found = pg->next;
    pg->next = NULL;
    return pg;
}

/* Closes one that is in no list. */
static void close_one(struct pg_share *s, struct pg *pg)
{
    pg_close(pg); /* while it counts: a query may have to be cancelled */
    pthread_mutex_lock(&s->mutex);
    s->open--;
    pthread_mutex_unlock(&s->mutex);
}

static struct pg *find_idle(struct pg_share *s, const struct pg_server *script_of)
{
    for (;;) {
        pthread_mutex_lock(&s->mutex);
        struct pg *pg = take_idle(s, script_of, false);
        pthread_mutex_unlock(&s->mutex);
        if (!pg || is_quiet(pg))
            return pg;
        close_one(s, pg);
    }
}

/* Counts one more, in place of an idle one that nobody here can use if there are as many as may
 * be. */
static void count_one(struct pg_share *s)
{
    pthread_mutex_lock(&s->mutex);
    struct pg *unused = s->open >= s->turns.bound ? take_idle(s, NULL, true) : NULL;
    s->open += !unused;
    pthread_mutex_unlock(&s->mutex);
    pg_close(unused);
}

/* The server refuses another one: from now on those take turns that there are. Under the mutex. */
static void lower_bound(struct pg_share *s, const char *label)
{
    s->turns.bound = s->open < s->most ? s->open : s->most;
    s->crowded_us = clock_mono_us();
    if (!s->told)
        log_warn("PostgreSQL %s accepts no more connections: pipelines and workers take turns with "
                 "those that are open (hint: raise the server's max_connections or the user's "
                 "connection limit)",
                 label);
    s->told = true;
}

/* A connection was not made. True: there are others, for which to wait. */
static bool may_wait(const struct pg_pool *p, enum pg_class class, bool crowded)
{
    struct pg_share *s = p->server->share;
    pthread_mutex_lock(&s->mutex);
    s->open--;
    bool others = crowded && s->open > 0 && class <= PG_LONG;
    if (others)
        lower_bound(s, p->server->label);
    pg_turns_give_back(&s->turns, class);
    wake(s);
    pthread_mutex_unlock(&s->mutex);
    return others;
}

static enum pg_class class_of(const struct pg_pool *p)
{
    return held > 1 ? PG_DEEP : held > 0 ? PG_NESTED : p->takes_long ? PG_LONG : PG_SHORT;
}

static struct pg *acquire(struct pg_pool *p, const struct pg_server *script_of, struct err *e)
{
    struct pg_share *s = p->server->share;
    struct pg_turn turn = {.class = class_of(p)};
    struct pg *pg;
    bool crowded;
    do {
        if (!take_turn(p, &turn, e))
            return NULL;
        if ((pg = find_idle(s, script_of)))
            break;
        count_one(s);
        pg = pg_open(p->server, script_of, &crowded, e);
    } while (!pg && may_wait(p, turn.class, crowded));
    if (!pg)
        return NULL;
    assert(!pg->streaming && !pg->broken);
    pg->server = p->server;
    p->server->accepted = true;
    pg->pool = p;
    pg->class = turn.class;
    held++;
    return pg;
}

struct pg *pg_acquire(struct pg_pool *p, struct err *e)
{
    return acquire(p, NULL, e);
}

struct pg *pg_acquire_for_script(struct pg_pool *p, struct err *e)
{
    return acquire(p, p->server, e);
}

/* The thread has it no longer; its turn is still taken. */
static void let_go(struct pg *pg)
{
    assert(held > 0 && pg->pool);
    held--;
    pg->pool = NULL;
}

void pg_discard(struct pg *pg)
{
    if (!pg)
        return;
    struct pg_share *s = pg->share;
    enum pg_class class = pg->class;
    let_go(pg);
    close_one(s, pg);
    give_back(s, class);
}

static bool is_usable(const struct pg *pg)
{
    return !pg->broken && !pg->streaming && PQstatus(pg->conn) == CONNECTION_OK &&
           PQtransactionStatus(pg->conn) == PQTRANS_IDLE;
}

void pg_release(struct pg_pool *p, struct pg *pg)
{
    if (!pg)
        return;
    if (!is_usable(pg)) {
        pg_discard(pg);
        return;
    }
    struct pg_share *s = pg->share;
    assert(pg->pool == p && !pg->next);
    let_go(pg);
    PQclear(pg->row);
    pg->row = NULL;
    pthread_mutex_lock(&s->mutex);
    pg->idle_from = clock_mono_us();
    pg->next = s->idle;
    s->idle = pg;
    struct pg *surplus = s->open > s->turns.bound ? take_idle(s, NULL, true) : NULL;
    pg_turns_give_back(&s->turns, pg->class);
    wake(s);
    pthread_mutex_unlock(&s->mutex);
    if (surplus)
        close_one(s, surplus);
    pg_share_close_idle(s, NULL, clock_mono_us() - IDLE_US);
}
