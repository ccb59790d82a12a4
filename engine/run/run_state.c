#include "run/run_state.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "run/run.h"
#include "store/deadletter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening it ---- */

static bool open_dead_letters(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    const char *given = r->options.dead_letters;
    char *path = given ? strdup(given) : deadletters_default_path(p->state);
    if (!path)
        return err_memory(e);
    r->state.dead = deadletters_open(path, p->name, e);
    free(path);
    return r->state.dead != NULL;
}

bool run_open_state(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    if (r->options.dry_run)
        return true;
    if ((!r->state.file && !(r->state.file = state_open(p->state, e))) ||
        !state_read(p->state, &r->state.data, e))
        return false;
    if (r->state.data.pipeline && strcmp(r->state.data.pipeline, p->name) != 0 &&
        !r->options.take_over) {
        err_set(e, ERR_USAGE, "state file '%s' belongs to pipeline '%s', not to '%s'", p->state,
                r->state.data.pipeline, p->name);
        return err_hint(
            e,
            "give each script a state file of its own: state = \"...\" in %s; or, if '%s' has "
            "been renamed: --take-over",
            p->script, r->state.data.pipeline);
    }
    return open_dead_letters(r, e);
}

/* ---- whose it is ---- */

/* A table that the state does not know begins where the file was touched to, or at its very first
 * row. */
static bool begin_table(const struct run *r, const struct source_table *t, struct checkpoint *m,
                        struct err *e)
{
    if (!r->state.data.mtime.cursor || !t->cursor_is_time)
        return true;
    return checkpoint_begin(m, &r->state.data.mtime) || err_memory(e);
}

/* "id, kind": owned by the caller; NULL: no memory. */
static char *join(char *const *texts, size_t n)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < n; i++) {
        buf_adds(&b, i ? ", " : "");
        buf_adds(&b, texts[i]);
    }
    char *text = buf_cstr(&b) ? strdup(b.data) : NULL;
    buf_free(&b);
    return text;
}

/* What a mark of that table is of, by the script and the database as they are now. */
static bool name_columns(const struct run *r, size_t table, struct state_table *t, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    const struct source_key *k = &r->user.source.tables[table].key;
    const struct pipeline_names *key =
        table == 0 ? &p->source.key : &p->source.related[table - 1].key;
    const char *cursor = table == 0 ? p->source.cursor : p->source.related[table - 1].cursor;
    t->key = join(key->list, key->n);
    t->types = join(k->types, k->n);
    t->cursor = cursor ? strdup(cursor) : NULL;
    return (t->key && t->types && (!cursor || t->cursor)) || err_memory(e);
}

static bool differ(const char *noted, const char *now)
{
    return noted && now && strcmp(noted, now) != 0;
}

/* What a mark says, it says of its columns: for others the table begins anew. */
static bool sign_table(struct run *r, size_t table, struct state_table *t, struct state_table *old,
                       struct err *e)
{
    bool same = old && !differ(old->key, t->key) && !differ(old->cursor, t->cursor) &&
                (table == 0 || !differ(old->types, t->types)); /* of the root's: run_check_key */
    if (same) {
        checkpoint_move(&t->checkpoint, &old->checkpoint);
        return true;
    }
    if (old && old->checkpoint.at.cursor)
        log_info(
            "%s: reading '%s' from its first row on: the script has another key or cursor for it",
            r->user.pipeline.name, r->user.source.tables[table].label);
    return begin_table(r, &r->user.source.tables[table], &t->checkpoint, e);
}

static bool sign_tables(struct run *r, struct err *e)
{
    const struct source *s = &r->user.source;
    struct state_data old = {.tables = r->state.data.tables, .n_tables = r->state.data.n_tables};
    r->state.data.tables = NULL;
    r->state.data.n_tables = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < s->n_tables; i++) {
        struct state_table *t = state_table(&r->state.data, s->tables[i].state_name);
        size_t k = 0;
        while (k < old.n_tables && strcmp(old.tables[k].name, s->tables[i].state_name) != 0)
            k++;
        ok = (t || err_memory(e)) && name_columns(r, i, t, e) &&
             sign_table(r, i, t, k < old.n_tables ? &old.tables[k] : NULL, e);
    }
    state_data_free(&old);
    return ok;
}

bool run_bind_state(struct run *r, struct err *e)
{
    r->state.data.bare = false;
    if (!text_set(&r->state.data.pipeline, r->user.pipeline.name) ||
        !text_set(&r->state.data.index, r->user.pipeline.sink.index) ||
        (!r->options.dry_run && !text_set(&r->state.data.index_uuid, r->index.info.uuid)))
        return err_memory(e);
    return sign_tables(r, e);
}

/* Whether the last key that the state holds can be one, now that the column's type is another. An
 * int that has become a bigint makes no difference. */
static bool key_still_fits(struct run *r, const struct state_table *t, bool *fits, struct err *e)
{
    const char *last = r->state.data.after ? r->state.data.after : t->checkpoint.at.key;
    struct keylist list = {0};
    struct pg *pg = last ? pg_acquire(&r->servers.pool, e) : NULL;
    *fits = !last || (pg && source_canonical(&r->user.source, pg, &last, 1, &list, e) &&
                      list.n == 1 && strcmp(list.keys[0], last) == 0);
    bool ok = *fits || !pg || list.n > 0 || e->kind == ERR_USAGE;
    keylist_free(&list);
    pg_release(&r->servers.pool, pg);
    return (pg || !last) && ok;
}

static bool other_key(const struct run *r, const struct state_table *noted,
                      const struct state_table *now, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    err_set(e, ERR_USAGE,
            "source.key is '%s' (%s), but what index '%s' holds was made with '%s' (%s): its "
            "documents have "
            "other ids",
            now->key, now->types, r->state.data.index ? r->state.data.index : p->sink.index,
            noted->key, noted->types ? noted->types : "?");
    pipeline_at_line(e, p, p->source.key_line);
    return err_hint(e,
                    "'etl-engine reindex %s' makes a new index; or --full --sweep: loads "
                    "everything, then deletes "
                    "the documents of the key before",
                    p->script);
}

bool run_check_key(struct run *r, struct err *e)
{
    const struct state_table *noted = r->state.data.n_tables ? &r->state.data.tables[0] : NULL;
    struct state_data now = {0};
    if (!noted || r->options.full || strcmp(noted->name, r->user.source.tables[0].name) != 0)
        return true;
    struct state_table *t = state_table(&now, noted->name);
    bool ok = (t || err_memory(e)) && name_columns(r, 0, t, e), fits = true;
    if (ok && !differ(noted->key, t->key) && differ(noted->types, t->types))
        ok = key_still_fits(r, noted, &fits, e);
    if (ok && (differ(noted->key, t->key) || !fits))
        ok = other_key(r, noted, t, e);
    state_data_free(&now);
    return ok;
}

/* Why everything has to be read, or NULL. */
const char *run_why_full(const struct run *r)
{
    const struct state_data *d = &r->state.data;
    if (r->options.full)
        return "asked to";
    if (d->phase == STATE_NEW)
        return "there is no state yet";
    if (r->index.is_new)
        return "the index did not exist, though the state says it was loaded";
    if (!d->bare && strcmp(d->index_uuid, r->index.info.uuid) != 0)
        return "the index is not the one that was loaded";
    if (d->bare && r->user.pipeline.source.cursor && !r->user.source.tables[0].cursor_is_time)
        return "the state file holds a time alone, and the cursor is a number";
    if (d->n_tables > 0 && strcmp(d->tables[0].name, r->user.source.tables[0].name) != 0)
        return "the state is that of another table";
    if (d->n_tables > 0 && differ(d->tables[0].cursor, r->user.pipeline.source.cursor))
        return "the script has another cursor";
    return NULL;
}

/* The ids of transactions that the state holds are of one server; another one's mean something
 * else. */
bool run_bind_server(struct run *r, const char *server, struct err *e)
{
    struct state_data *d = &r->state.data;
    if (!server || (d->server && strcmp(d->server, server) == 0))
        return true;
    if (d->server)
        log_info(
            "%s: another PostgreSQL server than before answers: reading the last changes again",
            r->user.pipeline.name);
    for (size_t i = 0; d->server && i < d->n_tables; i++)
        watermark_forget_xids(&d->tables[i].checkpoint);
    return text_set(&d->server, server) || err_memory(e);
}

void run_state_swept(struct run *r)
{
    r->state.data.swept_us = clock_wall_us();
    free(r->state.data.sweep_after);
    r->state.data.sweep_after = NULL;
}
