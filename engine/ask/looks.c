#include "ask/looks.h"

#include "ask/ask.h"
#include "ask/ask_feeds.h"
#include "ask/spool.h"
#include "ask/sums.h"
#include "base/err.h"
#include "base/log.h"
#include "feed/feed.h"
#include "index/index.h"
#include "run/run_index.h"
#include "run/run_load.h"

static void begin(struct looks *l, struct collector_look add)
{
    add.trust = l->how.trust;
    add.again = l->how.again;
    add.kept = l->how.kept;
    collector_look(l->collector, &add);
}

static bool scan(struct looks *l, struct feed *f, struct err *e)
{
    return ask_scan(l->ask, ask_feed_slowly(f, l->rate, e), e);
}

static bool scan_spool(struct looks *l, struct spool *s, struct collector *c, struct err *e)
{
    return scan(l, ask_feed_spool(l->ask, s, c, e), e);
}

bool looks_at_spool(struct looks *l, struct spool *s, struct err *e)
{
    bool expects = l->how.trust == COLLECT_CONFIRM;
    begin(l, (struct collector_look){0});
    return scan_spool(l, s, expects ? l->collector : NULL, e);
}

/* ---- all ---- */

/* All at once: their copies may be several, in any shard. Later looks leave these keys out. */
static bool look_at_routed(struct looks *l, struct err *e)
{
    struct spool *routed = NULL;
    begin(l, (struct collector_look){.unique = true});
    bool ok = ask_find_routed(l->ask, &routed, e) &&
              (spool_count(routed) == 0 || scan_spool(l, routed, NULL, e));
    spool_close(routed);
    return ok;
}

static bool look_at_rows(struct looks *l, struct sums *seen, struct err *e)
{
    struct feed_origin origin = run_feed_origin(&l->ask->run);
    begin(l, (struct collector_look){.only_rows = true, .fresh = true, .seen = seen});
    return scan(l, feed_snapshot(&origin, NULL, l->ask->run.work.chunk, e), e);
}

static bool look_at_ids(struct looks *l, const struct sums *seen, struct err *e)
{
    struct spool *ids = NULL;
    begin(l, (struct collector_look){.only_gone = true, .fresh = true});
    bool ok = ask_find_unseen(l->ask, seen, &ids, e) && scan_spool(l, ids, NULL, e);
    spool_close(ids);
    return ok;
}

/* Documents that choose their index may have several copies: their keys alone say too little. */
static bool look_by_key(struct looks *l, struct err *e)
{
    struct run *r = &l->ask->run;
    struct feed_origin origin = run_feed_origin(r);
    struct feed_sweep_config config = {.index = run_index_to_search(r), .chunk = r->work.chunk};
    begin(l, (struct collector_look){.unique = true});
    return scan(l, feed_sweep(&origin, &config, e), e);
}

bool looks_at_all(struct looks *l, struct err *e)
{
    if (l->ask->run.user.pipeline.sink.multi_index)
        return look_by_key(l, e);
    struct sums *seen = sums_new();
    if (!seen)
        return err_memory(e);
    bool ok = look_at_routed(l, e) && look_at_rows(l, seen, e) && look_at_ids(l, seen, e);
    sums_free(seen);
    return ok;
}

/* ---- some ---- */

bool looks_at_sample(struct looks *l, size_t n, struct err *e)
{
    struct spool *sample = NULL;
    begin(l, (struct collector_look){0});
    bool ok = ask_find_sample(l->ask, n, &sample, e) && scan_spool(l, sample, NULL, e);
    spool_close(sample);
    return ok;
}

bool looks_since(struct looks *l, const char *since, struct err *e)
{
    struct run *r = &l->ask->run;
    begin(l, (struct collector_look){.unique = true});
    r->options.since = since;
    bool ok = run_load(r, e);
    r->options.since = NULL;
    return ok;
}

bool looks_at_keys(struct looks *l, const char *const *keys, size_t n, struct err *e)
{
    struct feed_origin origin = run_feed_origin(&l->ask->run);
    begin(l, (struct collector_look){0});
    return scan(l, feed_list(&origin, keys, n, e), e);
}

/* ---- a warning ---- */

void looks_warn_other(const struct looks *l)
{
    const struct run *r = &l->ask->run;
    const struct findings *f = collector_found(l->collector);
    struct index_other other;
    if (l->ask->is_older_script || f->kinds[EXPLAIN_DIFFERENT] * 2 <= findings_checked(f))
        return;
    index_why_other(r->servers.es, r->index.info.name, &other);
    if (*other.why)
        log_warn("%s: most documents differ; the index may return them otherwise than they were "
                 "sent: %s; %s",
                 r->user.pipeline.name, other.why, other.remedy ? other.remedy : "");
}
