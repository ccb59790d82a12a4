#include "store/state.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum {
    FORMAT = 2,
    OLDEST_FORMAT = 1, /* had no window: every row that was not done lay above the position */
};

/* ---- data ---- */

void state_data_free(struct state_data *d)
{
    free(d->pipeline);
    free(d->index);
    free(d->index_uuid);
    free(d->after);
    free(d->sweep_after);
    free(d->server);
    free(d->slot);
    free(d->captured);
    free(d->chosen);
    position_free(&d->mtime);
    for (size_t i = 0; i < d->n_tables; i++) {
        free(d->tables[i].name);
        free(d->tables[i].key);
        free(d->tables[i].types);
        free(d->tables[i].cursor);
        checkpoint_free(&d->tables[i].checkpoint);
    }
    free(d->tables);
    *d = (struct state_data){0};
}

static bool copy_table(struct state_data *to, const struct state_table *from)
{
    struct state_table *t = state_table(to, from->name);
    return t && checkpoint_copy(&t->checkpoint, &from->checkpoint) &&
           text_set(&t->key, from->key) && text_set(&t->types, from->types) &&
           text_set(&t->cursor, from->cursor);
}

bool state_data_copy(struct state_data *to, const struct state_data *from)
{
    *to = (struct state_data){.phase = from->phase,
                              .mtime_only = from->mtime_only,
                              .version = from->version,
                              .log_lsn = from->log_lsn,
                              .swept_us = from->swept_us,
                              .swept_from_us = from->swept_from_us,
                              .sweep_began_us = from->sweep_began_us,
                              .sweep_again = from->sweep_again,
                              .documents = from->documents};
    bool ok = position_copy(&to->mtime, &from->mtime) && text_set(&to->pipeline, from->pipeline) &&
              text_set(&to->index, from->index) && text_set(&to->index_uuid, from->index_uuid) &&
              text_set(&to->after, from->after) && text_set(&to->sweep_after, from->sweep_after) &&
              text_set(&to->server, from->server) && text_set(&to->slot, from->slot) &&
              text_set(&to->captured, from->captured) && text_set(&to->chosen, from->chosen);
    for (size_t i = 0; ok && i < from->n_tables; i++)
        ok = copy_table(to, &from->tables[i]);
    if (!ok)
        state_data_free(to);
    return ok;
}

struct journal_position state_place(const struct state_data *d)
{
    struct journal_position at = {0};
    for (size_t i = 0; i < d->n_tables; i++) {
        struct journal_position p = d->tables[i].checkpoint.journal;
        if (p.segment != 0 && (at.segment == 0 || journal_is_before(p, at)))
            at = p;
    }
    return at;
}

struct state_table *state_find(const struct state_data *d, const char *name)
{
    for (size_t i = 0; i < d->n_tables; i++)
        if (strcmp(d->tables[i].name, name) == 0)
            return &d->tables[i];
    return NULL;
}

struct state_table *state_table(struct state_data *d, const char *name)
{
    struct state_table *found = state_find(d, name);
    if (found)
        return found;
    struct state_table *tables = realloc(d->tables, (d->n_tables + 1) * sizeof *tables);
    if (!tables)
        return NULL;
    d->tables = tables;
    tables[d->n_tables] = (struct state_table){.name = strdup(name)};
    return tables[d->n_tables].name ? &tables[d->n_tables++] : NULL;
}

/* ---- reading ---- */

static bool read_text(struct json_reader *r, char **out)
{
    enum json_token t = json_next(r);
    if (t == JSON_NULL)
        return true;
    if (t != JSON_STRING || memchr(r->text, '\0', r->len))
        return false;
    free(*out);
    *out = strndup(r->text, r->len);
    return *out != NULL;
}

static bool read_int(struct json_reader *r, int64_t *out)
{
    return json_next(r) == JSON_NUMBER && json_int(r, out);
}

static bool read_uint(struct json_reader *r, uint64_t *out)
{
    int64_t n = 0;
    bool ok = read_int(r, &n);
    *out = (uint64_t)n;
    return ok;
}

/* Reads the value of "cursor", "key" or "us". *mine: it was one of them. */
static bool read_position_field(struct json_reader *r, struct position *p, bool *mine)
{
    *mine = true;
    if (json_is(r, "cursor"))
        return read_text(r, &p->cursor);
    if (json_is(r, "key"))
        return read_text(r, &p->key);
    if (json_is(r, "us"))
        return p->has_us = read_int(r, &p->us);
    *mine = false;
    return true;
}

static bool read_position(struct json_reader *r, struct position *p)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true, mine;
    while (ok && json_next(r) == JSON_KEY)
        ok = read_position_field(r, p, &mine) && (mine || json_skip(r));
    return ok && r->token == JSON_OBJECT_END;
}

static bool read_fence(struct json_reader *r, struct fence *f)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true;
    while (ok && json_next(r) == JSON_KEY)
        ok = json_is(r, "sessions") ? read_text(r, &f->sessions)
             : json_is(r, "xid")    ? read_uint(r, &f->xid)
             : json_is(r, "since")  ? read_int(r, &f->us)
                                    : json_skip(r);
    return ok && r->token == JSON_OBJECT_END;
}

static bool read_window(struct json_reader *r, struct window *w)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true, mine;
    while (ok && json_next(r) == JSON_KEY) {
        ok = read_position_field(r, &w->from, &mine);
        if (!mine)
            ok = json_is(r, "xid")     ? read_uint(r, &w->xid)
                 : json_is(r, "taken") ? read_int(r, &w->us)
                 : json_is(r, "fence") ? read_fence(r, &w->fence)
                                       : json_skip(r);
    }
    return ok && r->token == JSON_OBJECT_END;
}

static bool read_pass(struct json_reader *r, struct checkpoint *c)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true, mine;
    while (ok && json_next(r) == JSON_KEY) {
        ok = read_position_field(r, &c->pass, &mine);
        if (!mine)
            ok = json_is(r, "xid") ? read_uint(r, &c->pass_xid) : json_skip(r);
    }
    return ok && r->token == JSON_OBJECT_END;
}

static bool read_fanout(struct json_reader *r, struct checkpoint *c)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true, mine;
    while (ok && json_next(r) == JSON_KEY) {
        ok = read_position_field(r, &c->fanout, &mine);
        if (!mine)
            ok = json_is(r, "hash")    ? read_uint(r, &c->fanout_hash)
                 : json_is(r, "after") ? read_text(r, &c->after)
                                       : json_skip(r);
    }
    return ok && r->token == JSON_OBJECT_END;
}

/* [SEGMENT,OFFSET] */
static bool read_journal(struct json_reader *r, struct journal_position *p)
{
    return json_next(r) == JSON_ARRAY && read_uint(r, &p->segment) && read_uint(r, &p->offset) &&
           json_next(r) == JSON_ARRAY_END;
}

static bool read_checkpoint(struct json_reader *r, struct checkpoint *c)
{
    struct position owed = {0};
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true, mine, has_window = false;
    while (ok && json_next(r) == JSON_KEY) {
        ok = read_position_field(r, &c->at, &mine);
        if (mine)
            continue;
        if (json_is(r, "window"))
            ok = has_window = read_window(r, &c->window);
        else if (json_is(r, "candidate"))
            ok = read_window(r, &c->candidate);
        else if (json_is(r, "rewind"))
            ok = read_window(r, &c->rewind);
        else if (json_is(r, "seen"))
            ok = read_position(r, &c->seen);
        else if (json_is(r, "pass"))
            ok = read_pass(r, c);
        else if (json_is(r, "fan"))
            ok = read_fanout(r, c);
        else if (json_is(r, "journal"))
            ok = read_journal(r, &c->journal);
        else if (json_is(r, "whole"))
            ok = read_int(r, &c->whole_us);
        else if (json_is(r, "owed")) /* of format 1: the position to return to */
            ok = read_position(r, &owed);
        else
            ok = json_skip(r);
    }
    ok = ok && r->token == JSON_OBJECT_END;
    if (ok && !has_window) /* of format 1 */
        ok = position_copy(&c->window.from, owed.cursor ? &owed : &c->at);
    position_free(&owed);
    return ok;
}

static bool read_tables(struct json_reader *r, struct state_data *d)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        char *name = strndup(r->text, r->len);
        struct state_table *t = name ? state_table(d, name) : NULL;
        free(name);
        if (!t || !read_checkpoint(r, &t->checkpoint))
            return false;
    }
    return r->token == JSON_OBJECT_END;
}

/* {"TABLE":["KEY","TYPES","CURSOR"],...} */
static bool read_columns(struct json_reader *r, struct state_data *d)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        char *name = strndup(r->text, r->len);
        struct state_table *t = name ? state_table(d, name) : NULL;
        free(name);
        if (!t || json_next(r) != JSON_ARRAY || !read_text(r, &t->key) ||
            !read_text(r, &t->types) || !read_text(r, &t->cursor) || json_next(r) != JSON_ARRAY_END)
            return false;
    }
    return r->token == JSON_OBJECT_END;
}

static bool read_flag(struct json_reader *r, bool *out)
{
    enum json_token t = json_next(r);
    *out = t == JSON_TRUE;
    return t == JSON_TRUE || t == JSON_FALSE;
}

static bool read_sweep(struct json_reader *r, struct state_data *d)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true;
    while (ok && json_next(r) == JSON_KEY)
        ok = json_is(r, "swept")   ? read_int(r, &d->swept_us)
             : json_is(r, "from")  ? read_int(r, &d->swept_from_us)
             : json_is(r, "began") ? read_int(r, &d->sweep_began_us)
             : json_is(r, "after") ? read_text(r, &d->sweep_after)
             : json_is(r, "again") ? read_flag(r, &d->sweep_again)
                                   : json_skip(r);
    return ok && r->token == JSON_OBJECT_END;
}

static bool read_phase(struct json_reader *r, struct state_data *d)
{
    if (json_next(r) != JSON_STRING)
        return false;
    d->phase = json_is(r, "snapshot")    ? STATE_SNAPSHOT
               : json_is(r, "following") ? STATE_FOLLOWING
                                         : STATE_NEW;
    return d->phase != STATE_NEW;
}

static bool read_fields(struct json_reader *r, struct state_data *d, int64_t *format)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    bool ok = true;
    while (ok && json_next(r) == JSON_KEY) {
        if (json_is(r, "format"))
            ok = read_int(r, format);
        else if (json_is(r, "pipeline"))
            ok = read_text(r, &d->pipeline);
        else if (json_is(r, "index"))
            ok = read_text(r, &d->index);
        else if (json_is(r, "index_uuid"))
            ok = read_text(r, &d->index_uuid);
        else if (json_is(r, "phase"))
            ok = read_phase(r, d);
        else if (json_is(r, "after"))
            ok = read_text(r, &d->after);
        else if (json_is(r, "version"))
            ok = read_int(r, &d->version);
        else if (json_is(r, "server"))
            ok = read_text(r, &d->server);
        else if (json_is(r, "slot"))
            ok = read_text(r, &d->slot);
        else if (json_is(r, "captured"))
            ok = read_text(r, &d->captured);
        else if (json_is(r, "tables"))
            ok = read_tables(r, d);
        else if (json_is(r, "columns"))
            ok = read_columns(r, d);
        else if (json_is(r, "log"))
            ok = read_uint(r, &d->log_lsn);
        else if (json_is(r, "chosen"))
            ok = read_text(r, &d->chosen);
        else if (json_is(r, "sweep"))
            ok = read_sweep(r, d);
        else if (json_is(r, "documents"))
            ok = read_int(r, &d->documents);
        else
            ok = json_skip(r);
        if (*format > FORMAT)
            return true; /* the fields that follow may have another meaning */
    }
    return ok && r->token == JSON_OBJECT_END && json_end(r) && *format >= OLDEST_FORMAT &&
           d->pipeline && d->index_uuid && d->phase != STATE_NEW;
}

static bool damaged(size_t at, struct err *e)
{
    err_set(e, ERR_FINAL, "damaged at byte %zu", at);
    return err_hint(e, "the file is unchanged; 'etl-engine state reset SCRIPT' removes it, and the "
                       "next run loads everything");
}

bool state_parse(struct state_data *d, const char *text, size_t len, struct err *e)
{
    struct json_reader r;
    int64_t format = 0;
    json_open(&r, text, len);
    bool ok = read_fields(&r, d, &format);
    size_t at = r.at;
    json_close(&r);
    if (format > FORMAT)
        return err_set(e, ERR_FINAL, "format %lld was written by a newer version",
                       (long long)format);
    return ok || damaged(at, e);
}

/* ---- writing ---- */

static void add_value(struct buf *b, const char *text)
{
    size_t before = b->len;
    if (text && json_add_string(b, text, strlen(text)))
        return;
    /* a key that is not UTF-8, from an SQL_ASCII database: without it, more rows are read again */
    if (!b->failed)
        buf_cut(b, before);
    buf_adds(b, "null");
}

static void add_text(struct buf *b, const char *name, const char *text)
{
    buf_addf(b, "%s:", name);
    add_value(b, text);
}

static void add_position(struct buf *b, const struct position *p)
{
    add_text(b, "{\"cursor\"", p->cursor);
    add_text(b, ",\"key\"", p->key);
    if (p->has_us)
        buf_addf(b, ",\"us\":%lld", (long long)p->us);
}

static void add_window(struct buf *b, const char *name, const struct window *w)
{
    buf_addf(b, ",\"%s\":", name);
    add_position(b, &w->from);
    if (w->xid != 0)
        buf_addf(b, ",\"xid\":%llu", (unsigned long long)w->xid);
    if (w->us != 0)
        buf_addf(b, ",\"taken\":%lld", (long long)w->us);
    if (w->fence.sessions) {
        add_text(b, ",\"fence\":{\"sessions\"", w->fence.sessions);
        buf_addf(b, ",\"xid\":%llu,\"since\":%lld}", (unsigned long long)w->fence.xid,
                 (long long)w->fence.us);
    }
    buf_adds(b, "}");
}

static void add_checkpoint(struct buf *b, const struct checkpoint *c)
{
    add_position(b, &c->at);
    if (c->seen.cursor) {
        buf_adds(b, ",\"seen\":");
        add_position(b, &c->seen);
        buf_adds(b, "}");
    }
    add_window(b, "window", &c->window);
    if (c->candidate.us != 0)
        add_window(b, "candidate", &c->candidate);
    if (c->rewind.fence.sessions)
        add_window(b, "rewind", &c->rewind);
    if (c->pass.cursor) {
        buf_adds(b, ",\"pass\":");
        add_position(b, &c->pass);
        buf_addf(b, ",\"xid\":%llu}", (unsigned long long)c->pass_xid);
    }
    if (c->journal.segment != 0)
        buf_addf(b, ",\"journal\":[%llu,%llu]", (unsigned long long)c->journal.segment,
                 (unsigned long long)c->journal.offset);
    if (c->whole_us != 0)
        buf_addf(b, ",\"whole\":%lld", (long long)c->whole_us);
    if (c->fanout.cursor) {
        buf_adds(b, ",\"fan\":");
        add_position(b, &c->fanout);
        add_text(b, ",\"after\"", c->after);
        buf_addf(b, ",\"hash\":%lld}", (long long)c->fanout_hash);
    }
    buf_adds(b, "}");
}

static void add_tables(struct buf *b, const struct state_data *d)
{
    buf_adds(b, ",\"tables\":{");
    for (size_t i = 0; i < d->n_tables; i++) {
        const struct state_table *t = &d->tables[i];
        if (i > 0)
            buf_adds(b, ",");
        json_add_string(b, t->name, strlen(t->name));
        buf_adds(b, ":");
        add_checkpoint(b, &t->checkpoint);
    }
    buf_adds(b, "}");
}

static void add_columns(struct buf *b, const struct state_data *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n_tables; i++) {
        const struct state_table *t = &d->tables[i];
        if (!t->key)
            continue;
        buf_adds(b, n++ ? "," : ",\"columns\":{");
        json_add_string(b, t->name, strlen(t->name));
        buf_adds(b, ":[");
        add_value(b, t->key);
        buf_adds(b, ",");
        add_value(b, t->types);
        buf_adds(b, ",");
        add_value(b, t->cursor);
        buf_adds(b, "]");
    }
    buf_adds(b, n ? "}" : "");
}

void state_write(struct buf *out, const struct state_data *d)
{
    buf_addf(out, "{\"format\":%d,", FORMAT);
    add_text(out, "\"pipeline\"", d->pipeline);
    add_text(out, ",\"index\"", d->index);
    add_text(out, ",\"index_uuid\"", d->index_uuid);
    add_text(out, ",\"phase\"", d->phase == STATE_SNAPSHOT ? "snapshot" : "following");
    add_text(out, ",\"after\"", d->after);
    buf_addf(out, ",\"version\":%lld", (long long)d->version);
    if (d->server)
        add_text(out, ",\"server\"", d->server);
    if (d->slot)
        add_text(out, ",\"slot\"", d->slot);
    if (d->captured)
        add_text(out, ",\"captured\"", d->captured);
    if (d->chosen)
        add_text(out, ",\"chosen\"", d->chosen);
    add_tables(out, d);
    add_columns(out, d);
    if (d->log_lsn)
        buf_addf(out, ",\"log\":%llu", (unsigned long long)d->log_lsn);
    buf_addf(out, ",\"sweep\":{\"swept\":%lld", (long long)d->swept_us);
    if (d->swept_from_us)
        buf_addf(out, ",\"from\":%lld", (long long)d->swept_from_us);
    if (d->sweep_began_us)
        buf_addf(out, ",\"began\":%lld", (long long)d->sweep_began_us);
    add_text(out, ",\"after\"", d->sweep_after);
    buf_adds(out, d->sweep_again ? ",\"again\":true" : "");
    buf_addf(out, "},\"documents\":%lld}\n", (long long)d->documents);
}
