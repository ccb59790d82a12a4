#include "source/source_capture.h"

#include "base/err.h"
#include "base/log.h"
#include "pg/pg_replication.h"
#include "script/pipeline.h"
#include "source/source_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- statements ---- */

/* Runs a statement without parameters that returns one row. */
static bool ask_row(struct pg *pg, const char *sql, size_t columns, PGresult **out, struct err *e)
{
    struct source_statement st;
    source_statement_init(&st, 1, columns);
    buf_adds(&st.sql, sql);
    return source_run(pg, &st, out, e);
}

static bool run_command(struct pg *pg, const char *sql, struct err *e)
{
    PGresult *res = NULL;
    bool ok = pg_query(pg, sql, 0, NULL, &res, e);
    PQclear(res);
    return ok;
}

/* ---- the server ---- */

static const char server_sql[] = "SELECT pg_catalog.current_setting('wal_level'),"
                                 " pg_catalog.current_setting('server_version_num')::int,"
                                 " pg_catalog.current_setting('max_replication_slots')::int > 0";

static bool check_server(struct pg *pg, struct err *e)
{
    PGresult *res;
    if (!ask_row(pg, server_sql, 3, &res, e))
        return false;
    bool logical = strcmp(PQgetvalue(res, 0, 0), "logical") == 0, slots = pg_bool(res, 0, 2);
    if (!logical)
        err_set(e, ERR_USAGE,
                "cannot capture from the write-ahead log: wal_level of PostgreSQL %s "
                "is '%s'",
                pg_server_of(pg)->label, PQgetvalue(res, 0, 0));
    else if (!slots)
        err_set(e, ERR_USAGE,
                "cannot capture from the write-ahead log: max_replication_slots of "
                "PostgreSQL %s is 0",
                pg_server_of(pg)->label);
    PQclear(res);
    if (!logical)
        return err_hint(e, "ALTER SYSTEM SET wal_level = logical, then restart the server; managed "
                           "servers have a parameter for it, such as rds.logical_replication");
    return slots || err_hint(e, "ALTER SYSTEM SET max_replication_slots = 10, then restart the "
                                "server");
}

/* ---- tables ---- */

/* $1: the table. Of the table, or of all of its partitions: whether it can be published; whether a
 * row without an identity is in it; and of the columns $2 those whose old value is not in the log.
 *
 * An identity is a primary key (by default), an index that was chosen, or FULL: the whole row. */
static const char identity_sql[] =
    "WITH RECURSIVE parts (oid) AS ("
    "  SELECT $1::pg_catalog.regclass::pg_catalog.oid"
    "  UNION SELECT i.inhrelid FROM parts JOIN pg_catalog.pg_inherits i ON i.inhparent = parts.oid"
    "   JOIN pg_catalog.pg_class p ON p.oid = parts.oid AND p.relkind = 'p'),"
    " leaves AS ("
    "  SELECT c.oid, c.relreplident, c.relkind, c.relpersistence,"
    "   (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid"
    "     AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident"
    "              ELSE false END LIMIT 1) AS identity"
    "    FROM parts JOIN pg_catalog.pg_class c ON c.oid = parts.oid WHERE c.relkind <> 'p')"
    " SELECT coalesce(pg_catalog.bool_and(relkind = 'r' AND relpersistence = 'p'), true),"
    "  coalesce(pg_catalog.bool_or(identity IS NULL AND relreplident <> 'f'), false),"
    "  (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(name), ', ')"
    "     FROM pg_catalog.unnest($2::pg_catalog.text[]) name WHERE EXISTS ("
    "      SELECT FROM leaves WHERE relreplident <> 'f' AND NOT EXISTS ("
    "       SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a"
    "           ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"
    "        WHERE i.indexrelid = leaves.identity AND a.attname = name)))"
    " FROM leaves";

enum identity_column { IDENTITY_PLAIN, IDENTITY_LACKS, IDENTITY_HIDDEN, IDENTITY_COLUMNS };

struct identity {
    bool plain;       /* an ordinary table, or partitions of that kind */
    bool lacks;       /* published, it would refuse UPDATE and DELETE */
    char hidden[400]; /* columns, quoted, whose old values are not in the log; empty: none */
};

static bool read_identity(const struct source_reader *r, const struct pipeline_names *columns,
                          struct identity *out, struct err *e)
{
    struct source_statement st;
    struct buf names;
    PGresult *res;
    source_statement_init(&st, 1, IDENTITY_COLUMNS);
    buf_init(&names, SOURCE_SQL_MAX);
    pg_add_array(&names, (const char *const *)columns->list, columns->n);
    buf_adds(&st.sql, identity_sql);
    source_bind(&st, r->table->name);
    source_bind_taken(&st, source_finish(&names, e));
    if (!source_read(r, &st, &res, e))
        return false;
    *out = (struct identity){.plain = pg_bool(res, 0, IDENTITY_PLAIN),
                             .lacks = pg_bool(res, 0, IDENTITY_LACKS)};
    snprintf(out->hidden, sizeof out->hidden, "%s", PQgetvalue(res, 0, IDENTITY_HIDDEN));
    PQclear(res);
    return true;
}

/* The columns whose old values tell which documents a change concerns. */
static const struct pipeline_names *telling_columns(const struct source *s, size_t table)
{
    const struct pipeline *p = s->pipeline;
    if (table == 0)
        return &p->source.key;
    const struct pipeline_related *r = &p->source.related[table - 1];
    return r->affects.n > 0 ? &r->affects : &r->key;
}

static bool refuse_root(const struct source *s, const struct identity *id, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    const struct source_table *t = &s->tables[0];
    if (!id->plain)
        err_set(e, ERR_USAGE,
                "cannot capture the changes of '%s' from the write-ahead log: it is "
                "not an ordinary table",
                t->label);
    else
        err_set(e, ERR_USAGE,
                "cannot capture the changes of '%s' from the write-ahead log: its "
                "rows have no replica identity",
                t->label);
    pipeline_at_line(e, p, p->source.table_line);
    if (!id->plain)
        return err_hint(e, "capture = \"poll\" reads views, foreign and unlogged tables");
    return err_hint(e,
                    "ALTER TABLE %s ADD PRIMARY KEY (...), or ALTER TABLE %s REPLICA IDENTITY "
                    "FULL",
                    t->name, t->name);
}

static void warn_related(const struct source *s, size_t table, const struct identity *id)
{
    const struct source_table *t = &s->tables[table];
    const struct pipeline *p = s->pipeline;
    if (!id->plain)
        log_warn("%s:%d: the log does not have the changes of '%s', which is not an ordinary "
                 "table: only a sweep finds them",
                 p->script, t->related->table_line, t->label);
    else
        log_warn("%s:%d: the rows of '%s' have no replica identity, so it is not published: only a "
                 "sweep finds its changes; with ALTER TABLE %s REPLICA IDENTITY FULL the log has "
                 "them",
                 p->script, t->related->table_line, t->label, t->name);
}

static void warn_hidden(const struct source *s, size_t table, const struct identity *id)
{
    const struct source_table *t = &s->tables[table];
    const struct pipeline *p = s->pipeline;
    log_warn("%s:%d: the log does not have the old values of %s in '%s': of a row that is deleted, "
             "or moved to another document, only a sweep finds the document that had it; with "
             "ALTER TABLE %s REPLICA IDENTITY FULL the log has them",
             p->script, t->related ? t->related->table_line : p->source.table_line, id->hidden,
             t->label, t->name);
}

/* Whether the table is to be published. */
static bool is_publishable(const struct identity *id)
{
    return id->plain && !id->lacks;
}

static bool check_table(const struct source *s, size_t table, struct pg *pg, struct err *e)
{
    const struct source_reader r = source_reader(s, table, pg);
    struct identity id;
    if (!read_identity(&r, telling_columns(s, table), &id, e))
        return false;
    if (!is_publishable(&id) && table == 0)
        return refuse_root(s, &id, e);
    if (!is_publishable(&id))
        warn_related(s, table, &id);
    else if (id.hidden[0] && !(table > 0 && s->pipeline->source.related[table - 1].index_field))
        warn_hidden(s, table, &id);
    return true;
}

bool source_capture_check(const struct source *s, struct pg *pg, struct err *e)
{
    if (!check_server(pg, e))
        return false;
    for (size_t i = 0; i < s->n_tables; i++)
        if (!check_table(s, i, pg, e))
            return false;
    return true;
}

/* ---- the publication ---- */

/* What the publication has: its options, and of the tables $2 those that it lacks. */
static const char publication_sql[] =
    "SELECT p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate,"
    " coalesce((pg_catalog.to_jsonb(p) ->> 'pubviaroot')::bool, true)"
    "  OR NOT EXISTS (SELECT FROM pg_catalog.unnest($2::pg_catalog.text[]) t"
    "   JOIN pg_catalog.pg_class c ON c.oid = t::pg_catalog.regclass WHERE c.relkind = 'p'),"
    " (SELECT pg_catalog.string_agg(t, ', ') FROM pg_catalog.unnest($2::pg_catalog.text[]) t"
    "   WHERE NOT p.puballtables AND NOT EXISTS (SELECT FROM pg_catalog.pg_publication_rel r"
    "    WHERE r.prpubid = p.oid AND r.prrelid = t::pg_catalog.regclass)"
    "    AND NOT EXISTS (SELECT FROM pg_catalog.pg_publication_tables v JOIN pg_catalog.pg_class c"
    "      ON c.oid = t::pg_catalog.regclass JOIN pg_catalog.pg_namespace n"
    "      ON n.oid = c.relnamespace"
    "     WHERE v.pubname = p.pubname AND v.schemaname = n.nspname AND v.tablename = c.relname)),"
    " EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid"
    "  AND coalesce(pg_catalog.to_jsonb(r) ->> 'prqual', pg_catalog.to_jsonb(r) ->> 'prattrs')"
    "   IS NOT NULL)"
    " FROM pg_catalog.pg_publication p WHERE p.pubname = $1";

enum publication_column {
    PUBLICATION_WHOLE,
    PUBLICATION_VIA_ROOT,
    PUBLICATION_LACKS,
    PUBLICATION_FILTERED,
    PUBLICATION_COLUMNS
};

struct publishing {
    struct pg *pg;
    const char *publication;
    const char **tables; /* owned: SQL names, each once; borrowed themselves */
    size_t n;
};

static bool find_tables(const struct source *s, struct publishing *p, struct err *e)
{
    p->tables = calloc(s->n_tables, sizeof *p->tables);
    if (!p->tables)
        return err_memory(e);
    for (size_t i = 0; i < s->n_tables; i++) {
        const struct source_reader r = source_reader(s, i, p->pg);
        struct identity id;
        bool known = false;
        for (size_t k = 0; k < p->n && !known; k++)
            known = strcmp(p->tables[k], s->tables[i].name) == 0;
        if (!known && !read_identity(&r, telling_columns(s, i), &id, e))
            return false;
        if (!known && is_publishable(&id))
            p->tables[p->n++] = s->tables[i].name;
    }
    return true;
}

static bool read_publication(const struct publishing *p, PGresult **out, struct err *e)
{
    struct source_statement st;
    struct buf list;
    source_statement_init(&st, SOURCE_ANY_ROWS, PUBLICATION_COLUMNS);
    buf_init(&list, SOURCE_SQL_MAX);
    pg_add_array(&list, p->tables, p->n);
    buf_adds(&st.sql, publication_sql);
    source_bind(&st, p->publication);
    source_bind_taken(&st, source_finish(&list, e));
    return source_run(p->pg, &st, out, e);
}

/* Runs a statement (freed) that needs the tables' owner. If it is refused, who may run it does so
 * by hand; a long one is logged, as a hint has no room for it. */
static bool run_as_owner(struct pg *pg, const char *what, struct buf *sql, struct err *e)
{
    char *text = source_finish(sql, e);
    bool ok = text && run_command(pg, text, e);
    if (text && !ok && e->kind == ERR_FINAL) {
        struct err cause = *e;
        err_set(e, ERR_USAGE, "cannot %s: %s", what, cause.text);
        if (strlen(text) < sizeof e->hint - 60) {
            err_hint(e, "the tables' owner, or a superuser, can run: %s", text);
        } else {
            log_error("%s", text);
            err_hint(e, "the tables' owner, or a superuser, can run the statement above");
        }
    }
    free(text);
    return ok;
}

/* CREATE PUBLICATION etl_films FOR TABLE content.film, content.genre
 *  WITH (publish_via_partition_root = true) */
static bool make_publication(const struct publishing *p, struct err *e)
{
    struct buf sql;
    PGresult *res;
    if (!ask_row(p->pg, server_sql, 3, &res, e))
        return false;
    bool via_root = pg_int(res, 0, 1) >= 130000;
    PQclear(res);
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql, "CREATE PUBLICATION ");
    pg_add_identifier(&sql, p->publication);
    for (size_t i = 0; i < p->n; i++)
        buf_addf(&sql, "%s%s", i ? ", " : " FOR TABLE ", p->tables[i]);
    buf_adds(&sql, via_root ? " WITH (publish_via_partition_root = true)" : "");
    return run_as_owner(p->pg, "create the publication", &sql, e);
}

static bool extend_publication(const struct publishing *p, const char *lacks, struct err *e)
{
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql, "ALTER PUBLICATION ");
    pg_add_identifier(&sql, p->publication);
    buf_addf(&sql, " ADD TABLE %s", lacks);
    return run_as_owner(p->pg, "add tables to the publication", &sql, e);
}

/* One that somebody else made may hide changes. */
static bool check_publication(const char *publication, const PGresult *res, struct err *e)
{
    if (pg_bool(res, 0, PUBLICATION_FILTERED)) {
        err_set(e, ERR_USAGE,
                "publication '%s' has row filters or column lists, which hide changes",
                publication);
        return err_hint(e, "name another one in source.publication: it is created if it does not "
                           "exist");
    }
    if (!pg_bool(res, 0, PUBLICATION_WHOLE)) {
        err_set(e, ERR_USAGE, "publication '%s' does not publish all kinds of changes",
                publication);
        return err_hint(e,
                        "ALTER PUBLICATION \"%s\" SET (publish = 'insert, update, delete, "
                        "truncate')",
                        publication);
    }
    if (!pg_bool(res, 0, PUBLICATION_VIA_ROOT)) {
        err_set(e, ERR_USAGE, "publication '%s' publishes partitions by their own names",
                publication);
        return err_hint(e, "ALTER PUBLICATION \"%s\" SET (publish_via_partition_root = true)",
                        publication);
    }
    return true;
}

static bool publish(const struct publishing *p, struct source_published *out, struct err *e)
{
    PGresult *res;
    if (!read_publication(p, &res, e))
        return false;
    bool exists = PQntuples(res) == 1;
    out->made = !exists;
    out->grew = exists && !PQgetisnull(res, 0, PUBLICATION_LACKS);
    bool ok = exists ? check_publication(p->publication, res, e) : make_publication(p, e);
    if (ok && out->grew)
        ok = extend_publication(p, PQgetvalue(res, 0, PUBLICATION_LACKS), e);
    PQclear(res);
    return ok;
}

bool source_capture_publish(const struct source *s, struct pg *pg,
                            const struct source_capture_names *names, struct source_published *out,
                            struct err *e)
{
    struct publishing p = {.pg = pg, .publication = names->publication};
    bool ok = find_tables(s, &p, e) && publish(&p, out, e);
    free(p.tables);
    return ok;
}

bool source_capture_drop_publication(struct pg *pg, const char *publication, struct err *e)
{
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql, "DROP PUBLICATION IF EXISTS ");
    pg_add_identifier(&sql, publication);
    char *text = source_finish(&sql, e);
    bool ok = text && run_command(pg, text, e);
    free(text);
    return ok || err_wrap(e, "publication '%s'", publication);
}

/* ---- as the log names them ---- */

bool source_capture_relation(const struct source *s, size_t table, struct pg *pg,
                             struct source_relation *out, struct err *e)
{
    const struct source_reader r = source_reader(s, table, pg);
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, 1, 3);
    buf_adds(&st.sql, "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c"
                      " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                      " WHERE c.oid = $1::pg_catalog.regclass");
    source_bind(&st, r.table->name);
    if (!source_read(&r, &st, &res, e))
        return false;
    source_relation_free(out);
    *out = (struct source_relation){.oid = (uint32_t)pg_int(res, 0, 0),
                                    .schema = strdup(PQgetvalue(res, 0, 1)),
                                    .name = strdup(PQgetvalue(res, 0, 2))};
    PQclear(res);
    return (out->schema && out->name) || err_memory(e);
}

void source_relation_free(struct source_relation *r)
{
    free(r->schema);
    free(r->name);
    *r = (struct source_relation){0};
}

/* ---- the slot ---- */

/* wal_status is there from PostgreSQL 13 on, conflicting and invalidation_reason from 16 and 17. */
static const char slot_sql[] =
    "SELECT s.plugin = 'pgoutput' AND s.database = pg_catalog.current_database(),"
    " coalesce(pg_catalog.to_jsonb(s) ->> 'wal_status' = 'lost'"
    "  OR (pg_catalog.to_jsonb(s) ->> 'conflicting')::bool"
    "  OR pg_catalog.to_jsonb(s) ->> 'invalidation_reason' IS NOT NULL"
    "  OR s.restart_lsn IS NULL, false),"
    " s.confirmed_flush_lsn, coalesce(s.active_pid, 0),"
    " CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0"
    "  ELSE pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::bigint END"
    " FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1";

enum slot_column { SLOT_OURS, SLOT_LOST, SLOT_CONFIRMED, SLOT_PID, SLOT_HELD, SLOT_COLUMNS };

bool source_capture_find_slot(struct pg *pg, const char *slot, struct source_slot *out,
                              struct err *e)
{
    struct source_statement st;
    PGresult *res;
    *out = (struct source_slot){.status = SOURCE_SLOT_MISSING};
    source_statement_init(&st, SOURCE_ANY_ROWS, SLOT_COLUMNS);
    buf_adds(&st.sql, slot_sql);
    source_bind(&st, slot);
    if (!source_run(pg, &st, &res, e))
        return false;
    if (PQntuples(res) == 1) {
        out->status = !pg_bool(res, 0, SLOT_OURS)  ? SOURCE_SLOT_FOREIGN
                      : pg_bool(res, 0, SLOT_LOST) ? SOURCE_SLOT_LOST
                                                   : SOURCE_SLOT_READY;
        pg_lsn_read(PQgetvalue(res, 0, SLOT_CONFIRMED), &out->confirmed);
        out->pid = (int)pg_int(res, 0, SLOT_PID);
        out->held_bytes = pg_int(res, 0, SLOT_HELD);
    }
    PQclear(res);
    return true;
}

static const char writers_sql[] =
    "SELECT pg_catalog.count(*) OVER (), 'process ' || pid ||"
    "  coalesce(' (' || nullif(application_name, '') || ')', ''),"
    " pg_catalog.to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
    " FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL"
    "  AND pid <> pg_catalog.pg_backend_pid() ORDER BY xact_start LIMIT 1";

static void report_writers(const char *slot, struct pg *pg)
{
    struct source_statement st;
    struct err ignored; /* it is only a line in the log */
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, 3);
    buf_adds(&st.sql, writers_sql);
    if (source_run(pg, &st, &res, &ignored) && PQntuples(res) == 1)
        log_info("creating slot '%s' waits for %s open transactions, the oldest of %s since %s UTC",
                 slot, PQgetvalue(res, 0, 0), PQgetvalue(res, 0, 1), PQgetvalue(res, 0, 2));
    PQclear(res);
}

static bool explain_slot(const char *slot, struct err *e)
{
    struct err cause = *e;
    if (strstr(cause.text, "all replication slots are in use"))
        return err_set(e, ERR_USAGE, "cannot create slot '%s': %s", slot, cause.text) ||
               err_hint(e, "drop one that nobody needs (SELECT * FROM pg_replication_slots), or "
                           "ALTER SYSTEM SET max_replication_slots, then restart the server");
    if (cause.kind != ERR_FINAL)
        return err_wrap(e, "could not create slot '%s'", slot);
    err_set(e, ERR_USAGE, "cannot create slot '%s': %s", slot, cause.text);
    return err_hint(e,
                    "the role that source.url names needs REPLICATION: ALTER ROLE ... "
                    "REPLICATION; or a superuser runs: SELECT "
                    "pg_create_logical_replication_slot('%s', 'pgoutput')",
                    slot);
}

bool source_capture_make_slot(struct pg *pg, const char *slot, struct err *e)
{
    struct source_statement st;
    PGresult *res = NULL, *version;
    if (!ask_row(pg, server_sql, 3, &version, e))
        return false;
    bool failover = pg_int(version, 0, 1) >= 170000;
    PQclear(version);
    report_writers(slot, pg);
    source_statement_init(&st, 1, 1);
    buf_addf(
        &st.sql,
        "SELECT slot_name FROM pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput'%s)",
        failover ? ", failover => NOT pg_catalog.pg_is_in_recovery()" : "");
    source_bind(&st, slot);
    bool ok = source_run(pg, &st, &res, e) || explain_slot(slot, e);
    PQclear(res);
    return ok;
}

bool source_capture_drop_slot(struct pg *pg, const char *slot, struct err *e)
{
    struct source_statement st;
    PGresult *res = NULL;
    source_statement_init(&st, SOURCE_ANY_ROWS, 1);
    buf_adds(&st.sql, "SELECT pg_catalog.pg_drop_replication_slot(slot_name)"
                      " FROM pg_catalog.pg_replication_slots WHERE slot_name = $1");
    source_bind(&st, slot);
    bool ok = source_run(pg, &st, &res, e);
    PQclear(res);
    if (!ok && e->kind == ERR_FINAL && strstr(e->text, "is active for PID"))
        e->kind = ERR_PASSING;
    return ok || err_wrap(e, "could not drop slot '%s'", slot);
}

bool source_capture_position(struct pg *pg, uint64_t *lsn, struct err *e)
{
    PGresult *res;
    if (!ask_row(pg,
                 "SELECT CASE WHEN pg_catalog.pg_is_in_recovery()"
                 " THEN pg_catalog.pg_last_wal_replay_lsn()"
                 " ELSE pg_catalog.pg_current_wal_flush_lsn() END",
                 1, &res, e))
        return false;
    bool ok = pg_lsn_read(PQgetvalue(res, 0, 0), lsn) ||
              err_set(e, ERR_PASSING, "could not read the position of the log");
    PQclear(res);
    return ok;
}

/* $1: ids of 32 bits. A snapshot's have 64: each one is widened to the nearest to the snapshot's
 * end, as no two ids that matter are 2^31 apart. */
static const char visible_sql[] =
    "WITH snapshot AS (SELECT pg_catalog.txid_current_snapshot() AS s),"
    " ids AS (SELECT i, s, x, x - x % 4294967296 + xid AS near"
    "  FROM snapshot CROSS JOIN LATERAL (SELECT pg_catalog.txid_snapshot_xmax(s) AS x) xmax"
    "   CROSS JOIN pg_catalog.unnest($1::pg_catalog.int8[]) WITH ORDINALITY u (xid, i))"
    " SELECT pg_catalog.txid_visible_in_snapshot(near + CASE WHEN near - x > 2147483648"
    "  THEN -4294967296 WHEN x - near > 2147483648 THEN 4294967296 ELSE 0 END, s)"
    " FROM ids ORDER BY i";

bool source_capture_visible(struct pg *pg, const uint64_t *xids, size_t n, bool *visible,
                            struct err *e)
{
    struct source_statement st;
    struct buf list;
    PGresult *res;
    source_statement_init(&st, (int)n, 1);
    buf_init(&list, SOURCE_SQL_MAX);
    for (size_t i = 0; i < n; i++)
        buf_addf(&list, "%s%llu", i ? "," : "{", (unsigned long long)xids[i]);
    buf_adds(&list, n ? "}" : "{}");
    buf_adds(&st.sql, visible_sql);
    source_bind_taken(&st, source_finish(&list, e));
    if (!source_run(pg, &st, &res, e))
        return err_wrap(e, "could not determine which changes are visible");
    for (size_t i = 0; i < n; i++)
        visible[i] = pg_bool(res, (int)i, 0);
    PQclear(res);
    return true;
}
