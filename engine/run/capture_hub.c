#include "run/capture_hub.h"

#include "base/err.h"
#include "base/stop.h"
#include "base/text.h"
#include "base/watchdog.h"
#include "feed/wal_receiver.h"
#include "pg/pg.h"
#include "script/pipeline.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TURN_MS = 20 };

struct capture_hub {
    struct capture_hub *next;
    struct pg_server server;
    char *slot, *publication, *pipeline; /* owned; pipeline: the only one's name, for the log */
    struct wal_receiver *receiver;       /* owned */
    struct capture_seat *seats;          /* owned */
    size_t entries;                      /* of all seats */
    bool locked;
    unsigned remade;
    uint64_t visible;
};

struct capture_seat {
    struct capture_seat *next;
    struct capture_hub *hub;
    char *name; /* owned */
    struct wal_member *member;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct capture_hub *hubs; /* owned; under the lock, as are their seats, entries, locked */

/* ---- hubs ---- */

static void free_hub(struct capture_hub *h)
{
    wal_receiver_free(h->receiver);
    for (struct capture_seat *s = h->seats, *next; s; s = next) {
        next = s->next;
        free(s->name);
        free(s);
    }
    pg_server_free(&h->server);
    free(h->slot);
    free(h->publication);
    free(h->pipeline);
    free(h);
}

static bool fill_hub(struct capture_hub *h, const struct pipeline *p, double give_up_after,
                     struct err *e)
{
    if (!pg_server_init(&h->server, p->source.url, e))
        return false;
    h->server.accepted = true; /* by whom it matters to: a refusal is passing */
    if (!text_set(&h->slot, p->source.slot) || !text_set(&h->publication, p->source.publication) ||
        !text_set(&h->pipeline, p->name))
        return err_memory(e);
    const struct wal_receiver_config config = {.pipeline = h->pipeline,
                                               .server = &h->server,
                                               .slot = h->slot,
                                               .publication = h->publication,
                                               .give_up_after = give_up_after};
    return (h->receiver = wal_receiver_new(&config, e));
}

static struct capture_hub *new_hub(const struct pipeline *p, double give_up_after, struct err *e)
{
    struct capture_hub *h = calloc(1, sizeof *h);
    if (!h) {
        err_memory(e);
        return NULL;
    }
    if (fill_hub(h, p, give_up_after, e)) {
        h->next = hubs;
        hubs = h;
        return h;
    }
    free_hub(h);
    return NULL;
}

/* The slot of that name on the same server and database. */
static struct capture_hub *find_hub(const struct pipeline *p, double give_up_after, struct err *e)
{
    struct pg_server server;
    struct capture_hub *h = hubs;
    if (!pg_server_init(&server, p->source.url, e))
        return NULL;
    while (h &&
           (strcmp(h->slot, p->source.slot) != 0 || strcmp(h->server.label, server.label) != 0))
        h = h->next;
    pg_server_free(&server);
    return h ? h : new_hub(p, give_up_after, e);
}

static void remove_hub(struct capture_hub *h)
{
    struct capture_hub **at = &hubs;
    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
}

/* ---- seats ---- */

static struct capture_seat *add_seat(struct capture_hub *h, const struct pipeline *p, struct err *e)
{
    struct capture_seat *s = calloc(1, sizeof *s);
    if (!s || !(s->name = strdup(p->name)) ||
        !(s->member =
              wal_receiver_add(h->receiver, p->name, (uint64_t)p->source.journal_limit, e))) {
        free(s ? s->name : NULL);
        free(s);
        err_memory(e);
        return NULL;
    }
    s->hub = h;
    s->next = h->seats;
    h->seats = s;
    return s;
}

struct capture_seat *capture_hub_enter(const struct pipeline *p, double give_up_after,
                                       struct err *e)
{
    pthread_mutex_lock(&lock);
    struct capture_hub *h = find_hub(p, give_up_after, e);
    struct capture_seat *s = h ? h->seats : NULL;
    while (s && strcmp(s->name, p->name) != 0)
        s = s->next;
    if (h && !s)
        s = add_seat(h, p, e);
    if (s)
        h->entries++;
    bool is_empty = h && h->entries == 0;
    if (is_empty)
        remove_hub(h);
    pthread_mutex_unlock(&lock);
    if (is_empty)
        free_hub(h);
    return s;
}

void capture_hub_leave(struct capture_seat *s)
{
    if (!s)
        return;
    struct capture_hub *h = s->hub;
    pthread_mutex_lock(&lock);
    bool is_last = --h->entries == 0;
    if (is_last)
        remove_hub(h);
    pthread_mutex_unlock(&lock);
    if (is_last)
        free_hub(h);
}

/* ---- the slot ---- */

static bool take_turn(struct capture_hub *h)
{
    pthread_mutex_lock(&lock);
    bool ours = !h->locked;
    h->locked = true;
    pthread_mutex_unlock(&lock);
    return ours;
}

bool capture_hub_lock(struct capture_seat *s, struct err *e)
{
    while (!take_turn(s->hub)) {
        watchdog_sign();
        if (!stop_sleep(TURN_MS))
            return stop_err(e);
    }
    wal_member_retire(s->member);
    return true;
}

void capture_hub_unlock(struct capture_seat *s)
{
    pthread_mutex_lock(&lock);
    s->hub->locked = false;
    pthread_mutex_unlock(&lock);
}

struct wal_member *capture_hub_member(struct capture_seat *s)
{
    return s->member;
}

bool capture_hub_is_shared(struct capture_seat *s)
{
    pthread_mutex_lock(&lock);
    bool shared = s->hub->seats->next;
    pthread_mutex_unlock(&lock);
    return shared;
}

uint64_t capture_hub_confirmed(struct capture_seat *s, uint64_t slot)
{
    return wal_receiver_confirmed(s->hub->receiver, slot);
}

void capture_hub_remake(struct capture_seat *s, const char *why)
{
    struct err reason;
    err_set(&reason, ERR_FINAL, "%s", why);
    wal_receiver_halt(s->hub->receiver, &reason);
    s->hub->remade++;
    s->hub->visible = 0;
}

unsigned capture_hub_remade(struct capture_seat *s)
{
    return s->hub->remade;
}

void capture_hub_set_visible(struct capture_seat *s, uint64_t lsn)
{
    s->hub->visible = lsn;
}

uint64_t capture_hub_visible(struct capture_seat *s)
{
    return s->hub->visible;
}
