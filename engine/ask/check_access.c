/* check_access: what would keep a run out of the indexes: privileges that the user lacks, closed
 * indexes, blocks. */
#include "ask/check_internal.h"
#include "base/stop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- privileges ---- */

static bool find_missing(struct check *c, const struct index_use *use, struct index_privileges *out)
{
    struct err e;
    const struct pipeline *p = &c->user.pipeline;
    if (index_missing_privileges(c->servers.es, use, out, &e))
        return true;
    check_add_err(c, "search", p->sink.url_line, &e);
    return false;
}

static void tell_cluster(struct check *c, const struct index_privileges *lacks)
{
    if (!*lacks->cluster || check_has(c, "cluster_privilege", ""))
        return;
    check_add(c, CHECK_ERROR, "cluster_privilege", c->user.pipeline.sink.index_line,
              "the user lacks privileges on the cluster: %s", lacks->cluster);
    check_remedy(c, "give its role cluster_composite_ops");
}

static void check_one_index(struct check *c, const struct index_use *use)
{
    struct index_privileges lacks;
    if (!find_missing(c, use, &lacks))
        return;
    tell_cluster(c, &lacks);
    if (!*lacks.missing)
        return;
    check_add(c, CHECK_ERROR, "index_privilege", c->user.pipeline.sink.index_line,
              "the user lacks privileges on index '%s': %s", use->index, lacks.missing);
    check_remedy(c, "give its role these privileges on '%s'", use->index);
}

/* A warning, since it may be right: for a user who has privileges on those indexes alone that
 * documents choose. check_chosen has the error for one that they do choose. */
static void check_pattern(struct check *c, const char *pattern)
{
    struct index_privileges lacks;
    if (!find_missing(c, &(struct index_use){pattern, true, true}, &lacks))
        return;
    tell_cluster(c, &lacks);
    c->lacks_chosen |= *lacks.missing;
    if (!*lacks.missing)
        return;
    check_add(
        c, CHECK_WARNING, "index_privilege", check_line(c, "sink.indices"),
        "the user lacks privileges on indexes that sink.indices names (%s): %s; a run stops at "
        "the first document that chooses such an index, and sweeps and `verify` do not see "
        "the documents in it",
        pattern, lacks.missing);
    check_remedy(c, "give its role these privileges on '%s'", pattern);
}

/* The index itself is one of sink.indices, too. */
static void check_patterns(struct check *c)
{
    const struct pipeline *p = &c->user.pipeline;
    const char *next = p->sink.indices;
    while (next && !stop_asked()) {
        size_t len = strcspn(next, ",");
        char *one = strndup(next, len);
        c->failed |= !one;
        if (one && strcmp(one, p->sink.index) != 0)
            check_pattern(c, one);
        free(one);
        next = next[len] ? next + len + 1 : NULL;
    }
}

void check_privileges(struct check *c)
{
    const struct pipeline *p = &c->user.pipeline;
    check_one_index(c, &(struct index_use){p->sink.index, !c->index.exists, p->sink.multi_index});
    if (p->sink.multi_index)
        check_patterns(c);
}

static bool is_known(const struct keylist *l, const char *index)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->keys[i], index) == 0)
            return true;
    return false;
}

void check_chosen(struct check *c, const char *index)
{
    enum { MOST = 10 }; /* each one costs requests, and the first one says enough */
    struct index_info info;
    struct err e;
    if (!c->lacks_chosen || c->chosen.n >= MOST || is_known(&c->chosen, index) ||
        strcmp(index, c->user.pipeline.sink.index) == 0)
        return;
    c->failed |= !keylist_add(&c->chosen, index);
    bool exists = index_get_info(c->servers.es, index, &info, &e) && info.exists;
    check_one_index(c, &(struct index_use){index, !exists, true});
}

/* ---- closed and blocked indexes ---- */

static void tell_block(struct check *c, const struct index_block *b)
{
    int line = c->user.pipeline.sink.index_line;
    char more[60] = "";
    if (b->n > 1)
        snprintf(more, sizeof more, " (and %zu more are closed or blocked)", b->n - 1);
    if (!*b->setting) {
        check_add(c, CHECK_ERROR, "index_block", line,
                  "index '%s' is closed%s: a run waits until it is open", b->index, more);
        check_remedy(c, "POST /%s/_open", b->index);
        return;
    }
    check_add(c, CHECK_ERROR, "index_block", line,
              "index '%s' has the block %s%s: a run waits until it is removed", b->index,
              b->setting, more);
    if (strcmp(b->setting, "index.blocks.read_only_allow_delete") == 0)
        check_remedy(c, "free disk space on the server's data nodes: it then removes the block "
                        "itself");
    else
        check_remedy(c, "PUT /%s/_settings {\"%s\": null}", b->index, b->setting);
}

void check_blocks(struct check *c)
{
    struct err e;
    struct index_block block;
    int64_t count;
    const struct pipeline *p = &c->user.pipeline;
    const char *indices = p->sink.multi_index ? p->sink.indices : c->index.name;
    if (!index_find_block(c->servers.es, indices, &block, &e))
        check_add_err(c, "index_block", p->sink.index_line, &e);
    else if (block.n > 0)
        tell_block(c, &block);
    else if (!index_count(c->servers.es, c->index.name, &count, &e) && e.kind == ERR_PASSING)
        check_add_err(c, "index", p->sink.index_line, &e); /* a shard does not answer */
}
