/* source_page: pages of a table's rows, ordered by cursor and key, and their positions.
 *
 * The examples show the table content.genre, whose key is id and whose cursor is modified. */
#include "base/err.h"
#include "source/source_internal.h"

#include <stdlib.h>
#include <string.h>

/* A page's columns, after those of the key. */
enum page_column {
    PAGE_CURSOR,
    PAGE_CURSOR_US,
    PAGE_IS_ABOVE,
    PAGE_VERSION,
    PAGE_XID,
    PAGE_COLUMNS,
    POSITION_COLUMNS = PAGE_IS_ABOVE /* key, cursor, and microseconds make a position */
};

static int page_column(const struct source_table *t, enum page_column column)
{
    return (int)t->key.n + (int)column;
}

/* ---- reading a page ---- */

bool source_page_position(const struct source_table *t, const PGresult *page, int row,
                          struct position *out)
{
    int us = page_column(t, PAGE_CURSOR_US);
    struct buf text;
    position_free(out);
    buf_init(&text, SOURCE_SQL_MAX);
    const char *key = source_row_key(page, row, t->key.n, &text);
    out->cursor = strdup(PQgetvalue(page, row, page_column(t, PAGE_CURSOR)));
    out->key = key ? strdup(key) : NULL;
    out->has_us = !PQgetisnull(page, row, us);
    out->us = pg_int(page, row, us);
    buf_free(&text);
    return out->cursor && out->key;
}

bool source_page_is_above(const struct source_table *t, const PGresult *page, int row)
{
    return pg_bool(page, row, page_column(t, PAGE_IS_ABOVE));
}

const char *source_page_version(const struct source_table *t, const PGresult *page, int row)
{
    return PQgetvalue(page, row, page_column(t, PAGE_VERSION));
}

uint64_t source_page_xid(const struct source_table *t, const PGresult *page)
{
    return (uint64_t)pg_int(page, 0, page_column(t, PAGE_XID));
}

/* A row has the lower 32 bits of its transaction's id; ids in use are less than 2^31 apart. */
bool source_page_returns(const struct source_table *t, const PGresult *page, int row,
                         const struct watermark_report *began)
{
    if (!t->has_xmin)
        return true;
    uint32_t xmin = (uint32_t)pg_int(page, row, page_column(t, PAGE_VERSION));
    return xmin - (uint32_t)began->xid < (uint32_t)1 << 31 ||
           pg_int(page, row, page_column(t, PAGE_CURSOR_US)) > began->clock_us;
}

/* ---- conditions ---- */

/* (modified, id) > ($1::timestamptz, $2::uuid)   ABOVE, a position with a key
 * modified >= $1::timestamptz                    ABOVE, without: no row at this cursor is done
 *
 * NOT_ABOVE: the opposite, with <= and <. */
enum side { ABOVE, NOT_ABOVE };

static bool add_position(struct source_statement *st, const struct source_table *t,
                         const struct position *p, enum side side, struct err *e)
{
    source_bind(st, p->cursor);
    if (!p->key) {
        buf_addf(&st->sql, "%s %s $%d::%s", t->cursor, side == ABOVE ? ">=" : "<", st->n,
                 t->cursor_type);
        return true;
    }
    buf_addf(&st->sql, "(%s, %s) %s ($%d::%s, ", t->cursor, t->key.columns,
             side == ABOVE ? ">" : "<=", st->n, t->cursor_type);
    source_add_parameters(&st->sql, &t->key, st->n + 1);
    buf_adds(&st->sql, ")");
    return source_bind_key(st, &t->key, p->key, e);
}

/* modified >= $1::timestamptz - interval '60.000000 seconds'                  a time
 * number >= greatest($1::numeric - 10000, -9223372036854775808)::bigint       a number
 * number >= $1::numeric - 10000                                a number without a lowest value
 *
 * (Before PostgreSQL 15 an interval of many microseconds is out of range if it is written so.) */
static void add_slack(struct source_statement *st, const struct source_table *t,
                      const struct source_page_request *q)
{
    long long slack = q->slack;
    source_bind(st, q->from->cursor);
    buf_addf(&st->sql, "%s >= ", t->cursor);
    if (t->cursor_is_time)
        buf_addf(&st->sql, "$%d::%s - interval '%lld.%06lld seconds'", st->n, t->cursor_type,
                 slack / 1000000, slack % 1000000);
    else if (t->cursor_lowest)
        buf_addf(&st->sql, "greatest($%d::numeric - %lld, %s)::%s", st->n, slack, t->cursor_lowest,
                 t->cursor_type);
    else
        buf_addf(&st->sql, "$%d::numeric - %lld", st->n, slack);
}

/* modified > $1::timestamptz
 *
 * A window that begins at a position with a key: its cursor cannot come again, so all rows at it
 * are done, whatever their keys. An index on the cursor alone finds that no row is above. */
static void add_window(struct source_statement *st, const struct source_table *t,
                       const struct position *from)
{
    source_bind(st, from->cursor);
    buf_addf(&st->sql, "%s > $%d::%s", t->cursor, st->n, t->cursor_type);
}

/* " AND <the page's lower end>" */
static bool add_lower_end(struct source_statement *st, const struct source_table *t,
                          const struct source_page_request *q, struct err *e)
{
    bool above_seen = q->from == q->seen; /* no window: only rows above all that was seen */
    if (!q->after->cursor && !q->from->cursor)
        return true;
    buf_adds(&st->sql, " AND ");
    if (q->after->cursor)
        return add_position(st, t, q->after, ABOVE, e);
    if (q->slack > 0)
        add_slack(st, t, q);
    else if (q->from->key && q->xid != 0 && !above_seen)
        add_window(st, t, q->from);
    else
        return add_position(st, t, q->from, ABOVE, e);
    return true;
}

/* " AND (<above seen> OR xmin::text::bigint > 2 AND
 *       (xmin::text::bigint + 4294962585) % 4294967296 < 2147483648)"
 *
 * That is xmin >= xid, in the circle of 32 bits (here xid is 4711). 1 and 2 are not the ids of any
 * one transaction. */
static bool add_new_versions(struct source_statement *st, const struct source_table *t,
                             const struct source_page_request *q, struct err *e)
{
    static const long long IDS = 1LL << 32;
    if (!t->has_xmin || q->xid <= WATERMARK_ANY || !q->seen->cursor)
        return true;
    buf_adds(&st->sql, " AND (");
    if (!add_position(st, t, q->seen, ABOVE, e))
        return false;
    buf_addf(&st->sql, " OR xmin::text::bigint > 2 AND (xmin::text::bigint + %lld) %% %lld < %lld)",
             IDS - (long long)(q->xid % (uint64_t)IDS), IDS, IDS / 2);
    return true;
}

/* " AND (<not above to> OR <not above seen>)" */
static bool add_upper_end(struct source_statement *st, const struct source_table *t,
                          const struct source_page_request *q, struct err *e)
{
    if (!q->to->cursor)
        return true;
    buf_adds(&st->sql, " AND (");
    if (!add_position(st, t, q->to, NOT_ABOVE, e))
        return false;
    if (q->seen->cursor) {
        buf_adds(&st->sql, " OR ");
        if (!add_position(st, t, q->seen, NOT_ABOVE, e))
            return false;
    }
    buf_adds(&st->sql, ")");
    return true;
}

/* ---- statements ---- */

/* SELECT id, modified, (extract(epoch FROM modified) * 1000000)::bigint, <above seen>, xmin,
 *        pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot())
 *   FROM content.genre
 *  WHERE isfinite(modified) AND id IS NOT NULL
 *    AND <lower end> AND (<above seen> OR <xmin not below xid>)
 *    AND (<not above to> OR <not above seen>)
 *  ORDER BY modified, id LIMIT 1000                                  (columns: enum page_column) */
static bool add_page(struct source_statement *st, const struct source_table *t,
                     const struct source_page_request *q, struct err *e)
{
    buf_addf(&st->sql, "SELECT %s, %s, %s, ", t->key.columns, t->cursor, t->cursor_us);
    if (!q->seen->cursor)
        buf_adds(&st->sql, "true");
    else if (!add_position(st, t, q->seen, ABOVE, e))
        return false;
    buf_addf(&st->sql,
             ", %s, pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot())"
             " FROM %s WHERE %s",
             q->no_versions ? "''" : t->version, t->name, t->has_position);
    if (!add_lower_end(st, t, q, e) || !add_new_versions(st, t, q, e) ||
        !add_upper_end(st, t, q, e))
        return false;
    buf_addf(&st->sql, " ORDER BY %s, %s LIMIT %lld", t->cursor, t->key.columns,
             (long long)q->rows);
    return true;
}

bool source_page(const struct source_reader *r, const struct source_page_request *request,
                 struct source_report *report, PGresult **page, struct err *e)
{
    struct source_statement st;
    source_statement_init(&st, SOURCE_ANY_ROWS, r->table->key.n + PAGE_COLUMNS);
    return add_page(&st, r->table, request, e) &&
           source_read_with_report(r, &st, request->sessions, report, page, e);
}

static bool is_key_column(const struct source_table *t, const char *name)
{
    for (size_t i = 0; i < t->key.n; i++)
        if (strcmp(t->key.names[i], name) == 0)
            return true;
    return false;
}

/* SELECT id, modified, (extract(epoch FROM modified) * 1000000)::bigint
 *   FROM (SELECT id, modified FROM content.genre
 *          WHERE isfinite(modified) AND id IS NOT NULL
 *          ORDER BY modified DESC, id DESC LIMIT 1) last
 *
 * The microseconds are computed outside: next to ORDER BY they would be computed for each row. */
bool source_last(const struct source_reader *r, struct position *last, struct source_report *report,
                 struct err *e)
{
    const struct source_table *t = r->table;
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, t->key.n + POSITION_COLUMNS);
    buf_addf(&st.sql, "SELECT %s, %s, %s FROM (SELECT %s", t->key.columns, t->cursor, t->cursor_us,
             t->key.columns);
    if (!is_key_column(t, t->cursor))
        buf_addf(&st.sql, ", %s", t->cursor);
    buf_addf(&st.sql, " FROM %s WHERE %s ORDER BY %s DESC", t->name, t->has_position, t->cursor);
    for (size_t i = 0; i < t->key.n; i++)
        buf_addf(&st.sql, ", %s DESC", t->key.names[i]);
    buf_adds(&st.sql, " LIMIT 1) last");
    if (!source_read_with_report(r, &st, true, report, &res, e))
        return false;
    position_free(last);
    bool ok = PQntuples(res) == 0 || source_page_position(t, res, 0, last);
    PQclear(res);
    return ok || err_memory(e);
}
