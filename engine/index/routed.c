#include "index/routed.h"

#include "base/err.h"
#include "base/log.h"
#include "index/bulk.h"
#include "index/index.h"
#include "index/index_alias.h"
#include "index/ingest.h"
#include "index/stale_copies.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- finding them ---- */

struct setter { /* the ingest pipeline of the index that sets _routing */
    char name[INGEST_NAME];
};

static void hear(const struct ingest_finding *f, void *arg)
{
    struct setter *s = arg;
    if (!*s->name && strstr(f->sets, "_routing"))
        snprintf(s->name, sizeof s->name, "%s", f->name);
}

static void warn(struct es *es, const struct routed_search *search, int64_t n)
{
    struct setter s = {0}; /* stays so if the pipeline was changed since */
    char who[INGEST_NAME + 60] = "an ingest pipeline or another program has set it";
    ingest_look_at_index(es, search->index, hear, &s);
    if (*s.name)
        snprintf(who, sizeof who, "ingest pipeline '%s' sets it: remove that first", s.name);
    log_warn_with(LOG_FIELDS(log_text("index", search->index), log_int("documents", n)),
                  "index '%s' has %" PRId64 " document%s with a _routing that the script did not "
                  "choose (%s); %s",
                  search->index, n, n == 1 ? "" : "s", who, search->remedy);
}

bool routed_open(struct es *es, const struct routed_search *s, struct index_scan **scan,
                 struct err *e)
{
    bool plain;
    if (!(*scan = index_scan_open_routed(es, s->index, e)))
        return false;
    int64_t n = index_scan_total(*scan);
    bool ok = n == 0 || index_is_plain(es, s->sink, &plain, e);
    if (ok && n > 0 && plain) {
        warn(es, s, n);
        return true;
    }
    index_scan_close(*scan);
    *scan = NULL;
    return ok;
}

/* ---- their copies ---- */

static const char *text_at(const struct stale_copies *c, size_t at)
{
    return c->text.data + at;
}

static bool has_routing(const struct stale_copies *c, size_t i)
{
    return *text_at(c, c->list[i].routing) != '\0';
}

size_t routed_count(const struct stale_copies *c, const char *key)
{
    size_t from, n = stale_copies_range(c, key, &from), routed = 0;
    for (size_t i = from; i < from + n; i++)
        routed += has_routing(c, i);
    return routed;
}

bool routed_by_pipeline(struct es *es, const char *index)
{
    bool plain;
    struct err e;
    return index_is_plain(es, index, &plain, &e) ? plain : e.kind == ERR_FINAL;
}

bool routed_refuse(const char *key, const char *routing, struct err *e)
{
    err_set(
        e, ERR_FINAL,
        "document '%.150s' was indexed, but an ingest pipeline has set its _routing to '%.100s'",
        key, routing);
    return err_hint(e, "remove that from the ingest pipeline; a sweep then writes these documents "
                       "again without it; document() may choose a routing itself, with "
                       "sink.indices");
}

/* Of one key, the newest first. */
static bool drop_of(const struct stale_copies *c, size_t from, size_t n, struct bulk *to,
                    struct err *e)
{
    for (size_t i = from + 1; i < from + n; i++)
        if (has_routing(c, i) && c->list[i].version < c->list[from].version &&
            !stale_copies_drop(c, i, to, e))
            return false;
    return true;
}

bool routed_drop(const struct stale_copies *c, struct bulk *to, int64_t version, struct err *e)
{
    for (size_t from = 0, n; from < c->n; from += n) {
        const char *key = text_at(c, c->list[from].key);
        n = stale_copies_range(c, key, &from);
        if (!has_routing(c, from)) {
            if (!drop_of(c, from, n, to, e))
                return false;
        } else if (c->list[from].version == version) {
            return routed_refuse(key, text_at(c, c->list[from].routing), e);
        }
    }
    return true;
}
