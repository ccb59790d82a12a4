#include "index/echo.h"

#include "base/err.h"
#include "base/log.h"
#include "index/bulk.h"
#include "index/index.h"
#include "index/routed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows with the same key overwrite each other's document, perhaps within this request: such a
 * document proves nothing. */
static bool is_alone(const struct bulk *b, size_t item)
{
    for (size_t i = 0; i < bulk_count(b); i++)
        if (i != item && strcmp(bulk_key(b, i), bulk_key(b, item)) == 0)
            return false;
    return true;
}

static char *copy_string(const char *text)
{
    return text ? strdup(text) : NULL;
}

void echo_sample_take(struct echo_sample *s, const struct bulk *b)
{
    /* the last one: earlier requests of the batch may have had this key, and are overwritten */
    size_t i = bulk_count(b);
    const char *document = NULL;
    *s = (struct echo_sample){0};
    while (i > 0 && !(document = bulk_document(b, i - 1, &s->len)))
        i--;
    if (!document || !is_alone(b, i - 1))
        return;
    s->key = strdup(bulk_key(b, i - 1));
    s->index = copy_string(bulk_index(b, i - 1));
    s->routing = copy_string(bulk_routing(b, i - 1));
    s->document = malloc(s->len + 1);
    s->version = bulk_version(b, i - 1);
    if (s->document)
        memcpy(s->document, document, s->len);
    if (!s->key || !s->document || (bulk_index(b, i - 1) && !s->index) ||
        (bulk_routing(b, i - 1) && !s->routing))
        echo_sample_free(s);
}

enum { ROUTING = 100 }; /* bytes that are shown */

struct comparison {
    const struct echo_sample *sample;
    bool missing, same, other;
    char routing[ROUTING]; /* one that it was not sent with; empty: none */
};

static void note_routing(struct comparison *h, const char *routing)
{
    const char *sent = h->sample->routing;
    if (routing && !(sent && strcmp(routing, sent) == 0))
        snprintf(h->routing, sizeof h->routing, "%s", routing);
}

/* A later version was written by somebody else after us. An earlier one is another copy: ours is in
 * another shard. */
static bool hear(const struct index_document *d, void *arg, struct err *e)
{
    struct comparison *h = arg;
    const struct echo_sample *s = h->sample;
    (void)e;
    h->missing = !d->found || d->version < s->version;
    if (!d->found || d->version != s->version)
        return true;
    note_routing(h, d->routing);
    h->same = d->source && d->source_len == s->len && memcmp(d->source, s->document, s->len) == 0;
    h->other = !h->same;
    return true;
}

static bool hear_copy(const struct index_copy *c, void *arg, struct err *e)
{
    struct comparison *h = arg;
    (void)e;
    if (c->version == h->sample->version)
        note_routing(h, c->routing);
    return true;
}

/* It is not where its key says: in another shard, or it was deleted meanwhile, or never stored. */
static void look_everywhere(struct comparison *h, struct es *es, const char *index)
{
    const char *key = h->sample->key;
    struct err ignored;
    index_find(es, h->sample->index ? h->sample->index : index,
               &(struct index_search){.keys = &key, .n = 1, .visit = hear_copy, .arg = h},
               &ignored);
}

static void warn_difference(const char *key, struct es *es, const char *index)
{
    struct index_other other;
    index_why_other(es, index, &other);
    log_warn_with(
        LOG_FIELDS(log_text("index", index), log_text("key", key)),
        "index '%s' does not return documents as they were sent (for example '%s'): %s; so "
        "each sweep writes all of them again; %s",
        index, key, other.why, other.remedy);
}

bool echo_check(struct echo *echo, const struct echo_sample *s, struct es *es, const char *index,
                struct err *e)
{
    struct comparison h = {.sample = s};
    struct doc_location place = {s->index, s->routing};
    const char *key = s->key;
    struct err ignored;
    if (!key || !index_get_documents(
                    es, index,
                    &(struct index_lookup){.keys = &key,
                                           .locations = s->index || s->routing ? &place : NULL,
                                           .n = 1,
                                           .with_source = true,
                                           .visit = hear,
                                           .arg = &h},
                    &ignored))
        return true;
    if (h.missing)
        look_everywhere(&h, es, index);
    if (h.routing[0] && routed_by_pipeline(es, s->index ? s->index : index))
        return routed_refuse(key, h.routing, e);
    if (h.same)
        atomic_store(&echo->confirmed, true);
    if (h.other && !atomic_exchange(&echo->warned, true))
        warn_difference(key, es, s->index ? s->index : index);
    return true;
}

void echo_sample_free(struct echo_sample *s)
{
    free(s->key);
    free(s->index);
    free(s->routing);
    free(s->document);
    *s = (struct echo_sample){0};
}
