#include "run/run_state.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "run/run.h"
#include "store/deadletter.h"
#include "store/state_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening it ---- */

/* path: of --dead-letters, or NULL. */
static bool open_dead_letters(struct run_state *s, const char *path, const struct pipeline *p,
                              struct err *e)
{
    char *own = path ? strdup(path) : deadletters_default_path(p->state);
    if (!own)
        return err_memory(e);
    s->dead = deadletters_open(own, p->name, e);
    free(own);
    return s->dead != NULL;
}

bool run_open_state(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    struct run_state *s = &r->state;
    if (r->options.dry_run)
        return true;
    if ((!s->file && !(s->file = state_file_open(p->state, e))) ||
        !state_file_read(p->state, &s->data, e))
        return pipeline_at_state(e, p);
    if (s->data.pipeline && strcmp(s->data.pipeline, p->name) != 0 && !r->options.take_over) {
        err_set(e, ERR_USAGE, "state file '%s' belongs to pipeline '%s', not to '%s'", p->state,
                s->data.pipeline, p->name);
        return err_hint(e,
                        "give each script its own state file: state = \"...\" in %s; or, if '%s' "
                        "was renamed: --take-over",
                        p->script, s->data.pipeline);
    }
    return open_dead_letters(s, r->options.dead_letters, p, e);
}

/* ---- saving ---- */

struct state_file *run_state_to_save(const struct run *r)
{
    return run_is_partial(r) || r->state.frozen ? NULL : r->state.file;
}

void run_state_freeze(struct run *r)
{
    r->state.frozen = true;
    r->work.coordinator.state = NULL;
}

/* ---- which script, index and columns it is of ---- */

/* A table that the state does not know begins at the time of the state file, if the user has set an
 * earlier one there (touch), or at its first row. */
static bool begin_table(const struct state_data *d, const struct source_table *t,
                        struct checkpoint *m, struct err *e)
{
    if (!d->mtime.cursor || !t->cursor_is_time)
        return true;
    return checkpoint_begin(m, &d->mtime) || err_memory(e);
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

/* Fills t with the columns that a checkpoint of the table is of now, by the script and the
 * database. */
static bool name_columns(const struct run_script *s, size_t table, struct state_table *t,
                         struct err *e)
{
    const struct pipeline *p = &s->pipeline;
    const struct source_key *k = &s->source.tables[table].key;
    const struct pipeline_names *key =
        table == 0 ? &p->source.key : &p->source.related[table - 1].key;
    const char *cursor = table == 0 ? p->source.cursor : p->source.related[table - 1].cursor;
    t->key = join(key->list, key->n);
    t->types = join(k->types, k->n);
    t->cursor = cursor ? strdup(cursor) : NULL;
    return (t->key && t->types && (!cursor || t->cursor)) || err_memory(e);
}

static bool differ(const char *saved, const char *now)
{
    return saved && now && strcmp(saved, now) != 0;
}

/* Gives t the checkpoint of `old` (NULL: there is none) if that is of the same columns; otherwise
 * the table is read from its beginning. */
static bool bind_table(const struct run *r, size_t table, struct state_table *t,
                       struct state_table *old, struct err *e)
{
    const struct source_table *source = &r->user.source.tables[table];
    bool captured = old && old->checkpoint.journal.segment != 0, wal = r->user.pipeline.source.wal;
    bool same = old && (wal || !captured) && !differ(old->key, t->key) &&
                !differ(old->cursor, t->cursor) &&
                (table == 0 || !differ(old->types, t->types)); /* of the root's: run_check_key */
    if (same) {
        checkpoint_move(&t->checkpoint, &old->checkpoint);
        return true;
    }
    if (captured && !wal)
        log_info_with(LOG_FIELDS(log_text("table", source->label)),
                      "%s: reading '%s' from its first row: its changes were captured from the log",
                      r->user.pipeline.name, source->label);
    else if (old && old->checkpoint.at.cursor)
        log_info_with(
            LOG_FIELDS(log_text("table", source->label)),
            "%s: reading '%s' from its first row: its key or cursor in the script has changed",
            r->user.pipeline.name, source->label);
    return begin_table(&r->state.data, source, &t->checkpoint, e);
}

static bool bind_tables(struct run *r, struct err *e)
{
    const struct source *s = &r->user.source;
    struct state_data *d = &r->state.data, old = {.tables = d->tables, .n_tables = d->n_tables};
    d->tables = NULL;
    d->n_tables = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < s->n_tables; i++) {
        const char *name = s->tables[i].state_name;
        struct state_table *t = state_table(d, name);
        ok = (t || err_memory(e)) && name_columns(&r->user, i, t, e) &&
             bind_table(r, i, t, state_find(&old, name), e);
    }
    state_data_free(&old);
    return ok;
}

bool run_bind_state(struct run *r, struct err *e)
{
    struct state_data *d = &r->state.data;
    d->mtime_only = false;
    if (!text_set(&d->pipeline, r->user.pipeline.name) ||
        !text_set(&d->index, r->user.pipeline.sink.index) ||
        (!r->options.dry_run && !text_set(&d->index_uuid, r->index.info.uuid)))
        return err_memory(e);
    return bind_tables(r, e);
}

bool run_bind_server(struct run *r, const char *server, struct err *e)
{
    struct state_data *d = &r->state.data;
    if (!server || (d->server && strcmp(d->server, server) == 0))
        return true;
    if (d->server)
        log_info("%s: this is another PostgreSQL server than before: reading the latest changes "
                 "again; what it lacks of those that were read before, a sweep finds",
                 r->user.pipeline.name);
    if (d->server)
        run_state_owe_sweep(&r->state);
    for (size_t i = 0; d->server && i < d->n_tables; i++)
        watermark_forget_xids(&d->tables[i].checkpoint);
    return text_set(&d->server, server) || err_memory(e);
}

/* ---- whether it can be used ---- */

/* Whether the last key in the state is still a key, though the column's type has changed: int to
 * bigint makes no difference. t: the root table, as it was saved. */
static bool key_still_fits(struct run *r, const struct state_table *t, bool *fits, struct err *e)
{
    const char *last = r->state.data.after ? r->state.data.after : t->checkpoint.at.key;
    struct keylist list = {0};
    struct pg *pg = last ? pg_acquire(&r->servers.pool, e) : NULL;
    struct source_reader root = source_reader(&r->user.source, 0, pg);
    *fits = !last || (pg && source_canonical(&root, &last, 1, &list, e) && list.n == 1 &&
                      strcmp(list.keys[0], last) == 0);
    bool ok = *fits || !pg || list.n > 0 || e->kind == ERR_USAGE;
    keylist_free(&list);
    pg_release(&r->servers.pool, pg);
    return (pg || !last) && ok;
}

static bool refuse_key(const struct run *r, const struct state_table *saved,
                       const struct state_table *now, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    err_set(e, ERR_USAGE,
            "source.key is '%s' (%s), but the documents in index '%s' were made with '%s' (%s), so "
            "their ids differ",
            now->key, now->types, r->state.data.index ? r->state.data.index : p->sink.index,
            saved->key, saved->types ? saved->types : "?");
    pipeline_at_line(e, p, p->source.key_line);
    return err_hint(e,
                    "'etl-engine reindex %s' builds a new index; or --full --sweep loads "
                    "everything, then deletes the documents of the old key",
                    p->script);
}

bool run_check_key(struct run *r, struct err *e)
{
    const struct state_table *saved = r->state.data.n_tables ? &r->state.data.tables[0] : NULL;
    struct state_data now = {0};
    if (!saved || r->options.full || strcmp(saved->name, r->user.source.tables[0].name) != 0)
        return true;
    struct state_table *t = state_table(&now, saved->name);
    bool ok = (t || err_memory(e)) && name_columns(&r->user, 0, t, e), fits = true;
    if (ok && !differ(saved->key, t->key) && differ(saved->types, t->types))
        ok = key_still_fits(r, saved, &fits, e);
    if (ok && (differ(saved->key, t->key) || !fits))
        ok = refuse_key(r, saved, t, e);
    state_data_free(&now);
    return ok;
}

const char *run_why_full(const struct run *r)
{
    const struct state_data *d = &r->state.data;
    if (r->options.full)
        return "as requested";
    if (d->phase == STATE_NEW)
        return "there is no state yet";
    if (r->index.is_new)
        return "the index did not exist, though the state says it was loaded";
    if (!d->mtime_only && strcmp(d->index_uuid, r->index.info.uuid) != 0)
        return "the index is not the one that was loaded";
    if (d->mtime_only && r->user.pipeline.source.cursor && !r->user.source.tables[0].cursor_is_time)
        return "the state file holds only a time, but the cursor is a number";
    if (d->n_tables > 0 && strcmp(d->tables[0].name, r->user.source.tables[0].name) != 0)
        return "the state belongs to another table";
    if (d->n_tables > 0 && differ(d->tables[0].cursor, r->user.pipeline.source.cursor))
        return "the cursor in the script has changed";
    return NULL;
}

/* ---- loads and sweeps ---- */

static void forget_text(char **text)
{
    free(*text);
    *text = NULL;
}

void run_state_begin_load(struct run_state *s)
{
    struct state_data *d = &s->data;
    for (size_t i = 0; i < d->n_tables; i++)
        checkpoint_free(&d->tables[i].checkpoint);
    position_free(&d->mtime);
    forget_text(&d->after);
    forget_text(&d->sweep_after);
    d->sweep_again = false;
    d->sweep_began_us = clock_wall_us();
    d->phase = STATE_SNAPSHOT;
}

void run_state_end_load(struct run_state *s)
{
    s->data.phase = STATE_FOLLOWING;
    forget_text(&s->data.after);
    run_state_swept(s); /* the load has seen every row, and the index had no other documents */
}

void run_state_swept(struct run_state *s)
{
    s->data.swept_us = s->data.sweep_again ? 0 : clock_wall_us();
    s->data.swept_from_us = s->data.sweep_began_us;
    s->data.sweep_began_us = 0;
    s->data.sweep_again = false;
    s->sweeping = false;
    forget_text(&s->data.sweep_after);
}

void run_state_set_sweeping(struct run_state *s, bool sweeping)
{
    if (sweeping && !s->data.sweep_after)
        s->data.sweep_began_us = clock_wall_us();
    s->sweeping = sweeping;
}

void run_state_drop_sweep(struct run_state *s)
{
    s->sweeping = false;
    s->data.sweep_began_us = 0;
    forget_text(&s->data.sweep_after);
}

void run_state_owe_sweep(struct run_state *s)
{
    if (s->data.phase == STATE_SNAPSHOT || s->sweeping || s->data.sweep_after)
        s->data.sweep_again = true;
    s->data.swept_us = 0;
}

void run_state_want_sweep(struct run_state *s)
{
    s->data.swept_us = 0;
    s->data.sweep_again = false;
    forget_text(&s->data.sweep_after);
}

/* ---- another index in the place of ours ---- */

static void move_text(char **to, char **from)
{
    free(*to);
    *to = *from;
    *from = NULL;
}

static bool take_tables(struct state_data *d, const struct state_data *from)
{
    for (size_t i = 0; i < d->n_tables; i++) {
        struct journal_position place = d->tables[i].checkpoint.journal; /* a reindex has none */
        checkpoint_free(&d->tables[i].checkpoint);
        d->tables[i].checkpoint.journal = place;
    }
    for (size_t i = 0; i < from->n_tables; i++) {
        struct state_table *other = &from->tables[i], *t = state_table(d, other->name);
        if (!t)
            return false;
        struct journal_position place = t->checkpoint.journal;
        checkpoint_move(&t->checkpoint, &other->checkpoint);
        t->checkpoint.journal = place;
        move_text(&t->key, &other->key);
        move_text(&t->types, &other->types);
        move_text(&t->cursor, &other->cursor);
    }
    return true;
}

bool run_state_adopt(struct run_state *s, const struct state_data *reindexed, const char *uuid,
                     struct err *e)
{
    struct state_data *d = &s->data;
    bool is_of_it = reindexed->phase == STATE_FOLLOWING && reindexed->index_uuid &&
                    strcmp(reindexed->index_uuid, uuid) == 0;
    if (is_of_it && !take_tables(d, reindexed))
        return err_memory(e);
    if (reindexed->version > d->version)
        d->version = reindexed->version;
    d->phase = STATE_FOLLOWING;
    forget_text(&d->after);
    d->documents = 0;
    /* sweeps since then have corrected the old index alone */
    run_state_want_sweep(s);
    return true;
}
