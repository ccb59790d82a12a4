#include "source.h"

#include "buf.h"
#include "err.h"
#include "pipeline.h"
#include "queue.h"
#include "state.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SQL = 16 << 20 };

/* ---- building SQL ---- */

static bool add_usage(struct err *e, const struct pipeline *p, int line)
{
    e->kind = ERR_USAGE;
    return line > 0 ? err_wrap(e, "%s:%d", p->script, line) : err_wrap(e, "%s", p->script);
}

/* The server's "no" to a script's text is the script's mistake; a lost connection is not. */
static bool blame_script(struct err *e, const struct pipeline *p, int line, const char *what)
{
    if (e->kind != ERR_FINAL)
        return false;
    err_wrap(e, "cannot use %s", what);
    return add_usage(e, p, line);
}

static char *finish(struct buf *b, struct err *e)
{
    if (!buf_cstr(b)) {
        buf_free(b);
        err_memory(e);
        return NULL;
    }
    return b->data; /* owned by the caller now */
}

static char *quoted(const char *name, struct err *e)
{
    struct buf b;
    buf_init(&b, MAX_SQL);
    pg_add_identifier(&b, name);
    return finish(&b, e);
}

static char *wrap_query(const char *query, struct err *e)
{
    struct buf b;
    buf_init(&b, MAX_SQL);
    buf_adds(&b, "SELECT * FROM ( "); /* the query's lines keep their numbers, for messages */
    buf_adds(&b, query);
    buf_adds(&b, "\n) q WHERE "); /* on a line of its own: the query may end in a comment */
    return finish(&b, e);
}

/* ---- opening ---- */

static bool find_table(struct source *s, struct pg *pg, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    const char *param = p->source.table;
    PGresult *res;
    bool ok =
        pg_query(pg,
                 "SELECT format('%I.%I', n.nspname, c.relname), c.relkind IN ('r', 'p', 'v', 'm', 'f')"
                 " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::regclass",
                 1, &param, &res, e);
    if (!ok)
        return blame_script(e, p, p->source.table_line, "source.table");
    if (PQntuples(res) != 1 || PQgetvalue(res, 0, 1)[0] != 't') {
        err_set(e, ERR_FINAL, "'%s' is not a table or view", param);
        ok = blame_script(e, p, p->source.table_line, "source.table");
    } else {
        s->table = strdup(PQgetvalue(res, 0, 0));
        ok = s->table || err_memory(e);
    }
    PQclear(res);
    return ok;
}

/* A column of the root table: its type, by asking for it. */
static bool find_column(const struct source *s, struct pg *pg, const char *name, struct pg_columns *out,
                        struct err *e)
{
    struct buf sql;
    buf_init(&sql, MAX_SQL);
    buf_adds(&sql, "SELECT ");
    pg_add_identifier(&sql, name);
    buf_addf(&sql, " FROM %s", s->table);
    const char *text = buf_cstr(&sql);
    bool ok = text ? pg_describe(pg, text, out, e) : err_memory(e);
    buf_free(&sql);
    return ok;
}

static bool blame_query(const struct source *s, struct err *e)
{
    return blame_script(e, s->pipeline, s->pipeline->source.query_line, "source.query");
}

static bool find_key(struct source *s, struct pg *pg, Oid *oid, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    struct pg_columns c = {0};
    if (!find_column(s, pg, p->source.key, &c, e))
        return blame_script(e, p, p->source.key_line, "source.key");
    bool array = c.list[0].array;
    s->key_type = strdup(c.list[0].type);
    s->key_is_array = c.list[0].array;
    *oid = c.list[0].oid;
    pg_columns_free(&c);
    s->key_name = quoted(p->source.key, e);
    if (!s->key_type || !s->key_name)
        return err_memory(e);
    if (!array)
        return true;
    err_set(e, ERR_FINAL, "column '%s' is an array (%s), and cannot be a key", p->source.key, s->key_type);
    return blame_script(e, p, p->source.key_line, "source.key");
}

/* The cursor's type with its precision: a timestamp(0) is rounded, and so has to be what it is compared with.
 */
static bool find_cursor_type(struct source *s, struct pg *pg, struct err *e)
{
    const char *params[] = {s->table, s->pipeline->source.cursor};
    PGresult *res;
    if (!pg_query(pg,
                  "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
                  " WHERE attrelid = $1::regclass AND attname = $2",
                  2, params, &res, e))
        return false;
    bool found = PQntuples(res) == 1;
    s->cursor_type = found ? strdup(PQgetvalue(res, 0, 0)) : NULL;
    PQclear(res);
    if (!found)
        return err_set(e, ERR_PASSING, "column '%s' is gone again", s->pipeline->source.cursor);
    return s->cursor_type || err_memory(e);
}

static bool find_cursor(struct source *s, struct pg *pg, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    if (!p->source.cursor)
        return true;
    struct pg_columns c = {0};
    if (!find_column(s, pg, p->source.cursor, &c, e))
        return blame_script(e, p, p->source.cursor_line, "source.cursor");
    enum pg_kind kind = c.list[0].kind;
    bool array = c.list[0].array;
    pg_columns_free(&c);
    s->cursor_name = quoted(p->source.cursor, e);
    if (!s->cursor_name || !find_cursor_type(s, pg, e))
        return false;
    s->cursor_is_time = kind == PG_TIMESTAMP || kind == PG_TIMESTAMPTZ || kind == PG_DATE;
    if (!array && (s->cursor_is_time || kind == PG_INT || kind == PG_NUMERIC))
        return true;
    err_set(e, ERR_FINAL,
            "column '%s' has type %s, and has to be a time or a number that grows with each change",
            p->source.cursor, s->cursor_type);
    return blame_script(e, p, p->source.cursor_line, "source.cursor");
}

/* A DELETE ... RETURNING returns rows, but not to a SELECT around it. */
static bool check_wrapped(const struct source *s, struct pg *pg, struct err *e)
{
    struct buf sql;
    struct pg_columns c = {0};
    buf_init(&sql, MAX_SQL);
    buf_addf(&sql, "%strue", s->select);
    const char *text = buf_cstr(&sql);
    bool ok = text ? pg_describe(pg, text, &c, e) : err_memory(e);
    pg_columns_free(&c);
    buf_free(&sql);
    return ok || blame_query(s, e);
}

static bool check_query(struct source *s, struct pg *pg, Oid key_oid, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    if (!pg_describe(pg, p->source.query, &s->columns, e))
        return blame_query(s, e);
    if (s->columns.parameters > 0) {
        err_set(e, ERR_FINAL, "it has a placeholder, $%d, and nothing to put there", s->columns.parameters);
        return blame_query(s, e);
    }
    s->key = pg_column(&s->columns, p->source.key);
    if (s->key < 0) {
        err_set(e, ERR_FINAL, "it does not return the key column '%s'", p->source.key);
        return blame_query(s, e);
    }
    if (s->columns.list[s->key].oid != key_oid) {
        err_set(e, ERR_FINAL, "its column '%s' has type %s, but in table '%s' that is %s; return it as it is",
                p->source.key, s->columns.list[s->key].type, p->source.table, s->key_type);
        return blame_query(s, e);
    }
    for (size_t i = 0; i < s->columns.n; i++)
        if (pg_column(&s->columns, s->columns.list[i].name) != (int)i) {
            err_set(e, ERR_FINAL, "it returns column '%s' twice", s->columns.list[i].name);
            return blame_query(s, e);
        }
    s->select = wrap_query(p->source.query, e);
    return s->select && check_wrapped(s, pg, e);
}

bool source_open(struct source *s, const struct pipeline *p, struct pg *pg, struct err *e)
{
    *s = (struct source){.pipeline = p};
    Oid key_oid = 0;
    if (find_table(s, pg, e) && find_key(s, pg, &key_oid, e) && find_cursor(s, pg, e) &&
        check_query(s, pg, key_oid, e))
        return true;
    source_free(s);
    return false;
}

void source_free(struct source *s)
{
    pg_columns_free(&s->columns);
    free(s->table);
    free(s->key_name);
    free(s->key_type);
    free(s->cursor_name);
    free(s->cursor_type);
    free(s->select);
    *s = (struct source){0};
}

/* ---- fetching ---- */

static bool stream(struct pg *pg, struct buf *sql, int n, const char *const *params, int64_t *clock_us,
                   struct err *e)
{
    const char *text = buf_cstr(sql);
    return text ? pg_stream(pg, text, n, params, clock_us, e) : err_memory(e);
}

static bool fetch_range(const struct source *s, struct pg *pg, const struct batch *b, struct buf *sql,
                        int64_t *clock_us, const char *order, struct err *e)
{
    const char *params[2];
    int n = 0;
    if (b->from) {
        params[n++] = b->from;
        buf_addf(sql, "q.%s > $%d::%s", s->key_name, n, s->key_type);
    }
    if (b->to) {
        params[n++] = b->to;
        buf_addf(sql, "%sq.%s <= $%d::%s", n > 1 ? " AND " : "", s->key_name, n, s->key_type);
    }
    if (n == 0)
        buf_adds(sql, "true");
    buf_adds(sql, order);
    return stream(pg, sql, n, params, clock_us, e);
}

static bool fetch_keys(const struct source *s, struct pg *pg, const struct batch *b, struct buf *sql,
                       int64_t *clock_us, const char *order, struct err *e)
{
    struct buf array;
    buf_init(&array, MAX_SQL);
    pg_add_array(&array, (const char *const *)b->keys, b->n);
    /* An array of arrays is a matrix: = ANY would look at its cells. */
    const char *form =
        s->key_is_array ? "q.%s IN (SELECT k::%s FROM unnest($1::text[]) k)%s" : "q.%s = ANY($1::%s[])%s";
    buf_addf(sql, form, s->key_name, s->key_type, order);
    const char *param = buf_cstr(&array);
    bool ok = param ? stream(pg, sql, 1, &param, clock_us, e) : err_memory(e);
    buf_free(&array);
    return ok;
}

bool source_fetch(const struct source *s, struct pg *pg, const struct batch *b, bool ordered,
                  int64_t *clock_us, struct err *e)
{
    struct buf sql, order;
    buf_init(&sql, MAX_SQL);
    buf_init(&order, MAX_SQL);
    buf_adds(&sql, s->select);
    if (ordered)
        buf_addf(&order, " ORDER BY q.%s", s->key_name);
    const char *order_text = buf_cstr(&order);
    bool ok = !order_text   ? err_memory(e)
              : b->is_range ? fetch_range(s, pg, b, &sql, clock_us, order_text, e)
                            : fetch_keys(s, pg, b, &sql, clock_us, order_text, e);
    buf_free(&sql);
    buf_free(&order);
    return ok || err_wrap(e, "could not read '%s'", s->pipeline->source.table);
}

/* ---- walking the root table ---- */

static bool query(const struct source *s, struct pg *pg, struct buf *sql, int n, const char *const *params,
                  PGresult **out, struct err *e)
{
    const char *text = buf_cstr(sql);
    bool ok = text ? pg_query(pg, text, n, params, out, e) : err_memory(e);
    buf_free(sql);
    return ok || err_wrap(e, "could not read '%s'", s->pipeline->source.table);
}

bool source_estimate(const struct source *s, struct pg *pg, int64_t *rows, struct err *e)
{
    struct buf sql;
    buf_init(&sql, MAX_SQL);
    buf_adds(&sql, "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = $1::regclass");
    const char *param = s->table;
    PGresult *res;
    if (!query(s, pg, &sql, 1, &param, &res, e))
        return false;
    *rows = PQntuples(res) ? strtoll(PQgetvalue(res, 0, 0), NULL, 10) : 0;
    PQclear(res);
    return true;
}

bool source_bound(const struct source *s, struct pg *pg, const char *after, int64_t rows, char **to,
                  struct err *e)
{
    struct buf sql;
    buf_init(&sql, MAX_SQL);
    buf_addf(&sql, "SELECT %s FROM %s", s->key_name, s->table);
    if (after)
        buf_addf(&sql, " WHERE %s > $1::%s", s->key_name, s->key_type);
    buf_addf(&sql, " ORDER BY %s OFFSET %lld LIMIT 1", s->key_name, (long long)rows - 1);
    PGresult *res;
    if (!query(s, pg, &sql, after ? 1 : 0, &after, &res, e))
        return false;
    bool none = PQntuples(res) == 0 || PQgetisnull(res, 0, 0); /* NULLs are ordered last: no key follows */
    *to = none ? NULL : strdup(PQgetvalue(res, 0, 0));
    PQclear(res);
    return none || *to || err_memory(e);
}

bool source_keys(const struct source *s, struct pg *pg, const char *const *keys, size_t n, PGresult **out,
                 struct err *e)
{
    struct buf sql, array;
    buf_init(&sql, MAX_SQL);
    buf_init(&array, MAX_SQL);
    buf_addf(&sql, "SELECT DISTINCT k::%s FROM unnest($1::text[]) k", s->key_type);
    pg_add_array(&array, keys, n);
    const char *param = buf_cstr(&array), *text = buf_cstr(&sql);
    bool ok = param && text ? pg_query(pg, text, 1, &param, out, e) : err_memory(e);
    if (!ok && e->kind == ERR_FINAL) {
        err_wrap(e, "cannot use the given keys");
        e->kind = ERR_USAGE;
    }
    buf_free(&sql);
    buf_free(&array);
    return ok;
}

/* ---- the cursor ---- */

/* SQL for a cursor's value as microseconds since the epoch. */
static void add_us(struct buf *sql, const struct source *s, const char *value)
{
    if (s->cursor_is_time)
        buf_addf(sql, "(extract(epoch FROM %s) * 1000000)::bigint", value);
    else
        buf_adds(sql, "NULL::bigint");
}

/* Infinities are times that nothing comes after, or before: no place to continue from. */
static void add_finite(struct buf *sql, const struct source *s)
{
    if (s->cursor_is_time)
        buf_addf(sql, "isfinite(%s)", s->cursor_name);
    else
        buf_addf(sql, "%s IS NOT NULL", s->cursor_name);
}

static bool take_position(const PGresult *res, int row, int cursor, int key, int us, struct position *out,
                          struct err *e)
{
    position_free(out);
    if (row >= PQntuples(res) || PQgetisnull(res, row, cursor))
        return true;
    out->cursor = strdup(PQgetvalue(res, row, cursor));
    if (key >= 0 && !PQgetisnull(res, row, key))
        out->key = strdup(PQgetvalue(res, row, key));
    out->has_us = !PQgetisnull(res, row, us);
    if (out->has_us)
        out->us = strtoll(PQgetvalue(res, row, us), NULL, 10);
    return (out->cursor && (key < 0 || PQgetisnull(res, row, key) || out->key)) || err_memory(e);
}

/* A row whose transaction began before another one ended may become visible later with an earlier cursor; so
 * nothing at or above the oldest open transaction's start is passed. Where start times of other users'
 * sessions are hidden from us (pg_read_all_stats shows them), the last minute stays open instead. */
static const char horizon_sql[] =
    "SELECT coalesce(least(min(xact_start),"
    "   CASE WHEN bool_or(state IS NULL) THEN clock_timestamp() - interval '60 seconds' END), "
    "clock_timestamp())"
    " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND coalesce(backend_type, 'client backend') = 'client backend'";

static bool last_row(const struct source *s, struct pg *pg, const char *horizon, PGresult **out,
                     struct err *e)
{
    struct buf sql;
    buf_init(&sql, MAX_SQL);
    buf_addf(&sql, "SELECT %s, %s, ", s->cursor_name, s->key_name);
    add_us(&sql, s, s->cursor_name);
    if (s->cursor_is_time) {
        buf_addf(&sql, ", %s < $1::timestamptz::%s, $1::timestamptz::%s, ", s->cursor_name, s->cursor_type,
                 s->cursor_type);
        buf_addf(&sql, "(extract(epoch FROM $1::timestamptz::%s) * 1000000)::bigint", s->cursor_type);
    }
    buf_addf(&sql, " FROM %s WHERE %s IS NOT NULL AND ", s->table, s->key_name);
    add_finite(&sql, s);
    buf_addf(&sql, " ORDER BY %s DESC, %s DESC LIMIT 1", s->cursor_name, s->key_name);
    return query(s, pg, &sql, s->cursor_is_time ? 1 : 0, &horizon, out, e);
}

bool source_horizon(const struct source *s, struct pg *pg, struct position *position, struct position *limit,
                    struct err *e)
{
    PGresult *horizon, *last;
    if (!pg_query(pg, horizon_sql, 0, NULL, &horizon,
                  e)) /* before the last row is looked for: a later snapshot */
        return false;
    bool ok = last_row(s, pg, PQgetvalue(horizon, 0, 0), &last, e);
    PQclear(horizon);
    if (!ok)
        return false;
    bool held_back = s->cursor_is_time && PQntuples(last) == 1 && PQgetvalue(last, 0, 3)[0] == 'f';
    ok = take_position(last, 0, 0, 1, 2, limit, e) &&
         (held_back ? take_position(last, 0, 4, -1, 5, position, e)
                    : take_position(last, 0, 0, 1, 2, position, e));
    PQclear(last);
    return ok;
}

/* Adds "(cursor, key) above `p`" or "not above `p`"; params grow. */
static void add_bound(struct buf *sql, const struct source *s, const struct position *p, bool above,
                      const char **params, int *n)
{
    params[(*n)++] = p->cursor;
    if (!p->key) {
        buf_addf(sql, " AND %s %s $%d::%s", s->cursor_name, above ? ">=" : "<", *n, s->cursor_type);
        return;
    }
    params[(*n)++] = p->key;
    buf_addf(sql, " AND (%s, %s) %s ($%d::%s, $%d::%s)", s->cursor_name, s->key_name,
             above ? ">" : "<=", *n - 1, s->cursor_type, *n, s->key_type);
}

bool source_page(const struct source *s, struct pg *pg, const struct position *from,
                 const struct position *limit, const struct position *horizon, int64_t rows, PGresult **out,
                 struct err *e)
{
    const char *params[6];
    int n = 0;
    struct buf sql;
    buf_init(&sql, MAX_SQL);
    buf_addf(&sql, "SELECT %s, %s, ", s->key_name, s->cursor_name);
    add_us(&sql, s, s->cursor_name);
    buf_adds(&sql, ", true");
    add_bound(&sql, s, horizon, false, params, &n);
    buf_addf(&sql, " FROM %s WHERE %s IS NOT NULL AND ", s->table, s->key_name);
    add_finite(&sql, s);
    if (from->cursor)
        add_bound(&sql, s, from, true, params, &n);
    add_bound(&sql, s, limit, false, params, &n);
    buf_addf(&sql, " ORDER BY %s, %s LIMIT %lld", s->cursor_name, s->key_name, (long long)rows);
    return query(s, pg, &sql, n, params, out, e);
}

bool source_since(const struct source *s, struct pg *pg, const char *text, struct position *out,
                  struct err *e)
{
    struct buf sql, value;
    buf_init(&sql, MAX_SQL);
    buf_init(&value, MAX_SQL);
    buf_addf(&value, "$1::%s", s->cursor_type);
    buf_addf(&sql, "SELECT %s, ", buf_cstr(&value));
    add_us(&sql, s, buf_cstr(&value));
    buf_free(&value);
    PGresult *res;
    if (!query(s, pg, &sql, 1, &text, &res, e)) {
        if (e->kind == ERR_FINAL)
            err_set(e, ERR_USAGE, "cannot read '%s' as a value of column '%s' (%s)", text,
                    s->pipeline->source.cursor, s->cursor_type);
        return false;
    }
    bool ok = take_position(res, 0, 0, -1, 1, out, e);
    PQclear(res);
    return ok;
}

bool source_not_above(const struct source *s, struct pg *pg, const struct position *a,
                      const struct position *b, bool *out, struct err *e)
{
    *out = !a->cursor;
    if (!a->cursor || !b->cursor)
        return true;
    struct buf sql;
    buf_init(&sql, MAX_SQL);
    buf_addf(&sql, "SELECT $1::%s <= $2::%s", s->cursor_type, s->cursor_type);
    PGresult *res;
    const char *params[] = {a->cursor, b->cursor};
    if (!query(s, pg, &sql, 2, params, &res, e))
        return false;
    *out = PQgetvalue(res, 0, 0)[0] == 't';
    PQclear(res);
    return true;
}
