/* source_report: what the server says before a page is read: its clock, its open transactions. */
#include "base/err.h"
#include "source/source_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* $1, $2: our own sessions' pids, and when they began. $3: name the open transactions; pg_locks is
 * read only for that, since it costs more than all the rest.
 *
 * The clock is read before the sessions, and these before the page's snapshot: a transaction that
 * begins in between is in the next report, with a later start. Transactions of other databases
 * write no row of ours. */
static const char report_sql[] =
    "WITH sessions AS ("
    "  SELECT pid, datid, usesysid, application_name, state, backend_type,"
    "         xact_start, backend_start, backend_xid::text::bigint AS xid"
    "    FROM pg_catalog.pg_stat_activity"
    "   WHERE pid <> pg_catalog.pg_backend_pid()),"
    " own AS ("
    "  SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),"
    " others AS ("
    "  SELECT * FROM sessions a WHERE datid = (SELECT oid FROM own) AND usesysid IS NOT NULL"
    "     AND coalesce(backend_type, '')"
    "         NOT IN ('autovacuum worker', 'parallel worker', 'walsender')"
    "     AND NOT EXISTS ("
    "      SELECT FROM unnest($1::int[], $2::bigint[]) own (pid, began)"
    "       WHERE own.pid = a.pid"
    "         AND own.began = (extract(epoch FROM a.backend_start) * 1000000)::bigint)),"
    " prepared AS ("
    "  SELECT transaction::text::bigint AS xid, database = pg_catalog.current_database() AS ours"
    "    FROM pg_catalog.pg_prepared_xacts),"
    " elsewhere AS ("
    "  SELECT xid FROM sessions WHERE datid <> (SELECT oid FROM own) AND xid IS NOT NULL"
    "  UNION ALL SELECT xid FROM prepared WHERE NOT ours),"
    " snapshot AS (SELECT pg_catalog.txid_current_snapshot() AS s)"
    " SELECT (extract(epoch FROM pg_catalog.statement_timestamp()) * 1000000)::bigint,"
    "  (SELECT (extract(epoch FROM min(xact_start)) * 1000000)::bigint FROM others),"
    "  (SELECT 'process ' || pid || coalesce(' (' || nullif(application_name, '') || ')', '')"
    "     FROM others WHERE xact_start IS NOT NULL ORDER BY xact_start LIMIT 1),"
    "  coalesce((SELECT bool_or(backend_type IS NULL OR state = 'disabled') FROM others), false)"
    "   OR EXISTS (SELECT FROM prepared WHERE ours),"
    "  pg_catalog.pg_is_in_recovery(),"
    "  CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.txid_snapshot_xmin(s)"
    "       ELSE coalesce((SELECT min(x) FROM pg_catalog.txid_snapshot_xip(s) x"
    "                       WHERE x % 4294967296 NOT IN (SELECT xid FROM elsewhere)),"
    "                     pg_catalog.txid_snapshot_xmax(s)) END,"
    "  pg_catalog.txid_snapshot_xmax(s),"
    "  CASE WHEN $3::bool THEN"
    "   coalesce((SELECT string_agg(virtualtransaction || ' ', '')"
    "               FROM pg_catalog.pg_locks JOIN others USING (pid)"
    "              WHERE locktype = 'virtualxid' AND mode = 'ExclusiveLock' AND granted), '') ||"
    "   coalesce((SELECT string_agg('p' || xid || ' ', '') FROM prepared WHERE ours), '') END"
    " FROM snapshot";

enum report_column {
    REPORT_CLOCK_US,
    REPORT_OLDEST_US,
    REPORT_WHO,
    REPORT_HIDDEN,
    REPORT_STANDBY,
    REPORT_XID,
    REPORT_XMAX,
    REPORT_SESSIONS,
    REPORT_COLUMNS
};

/* False: no memory. */
static bool read_report(const PGresult *res, struct source_report *r)
{
    source_report_free(r);
    *r = (struct source_report){
        .watermark = {.clock_us = pg_int(res, 0, REPORT_CLOCK_US),
                      .oldest_us = pg_int(res, 0, REPORT_OLDEST_US),
                      .xid = (uint64_t)pg_int(res, 0, REPORT_XID),
                      .xmax = (uint64_t)pg_int(res, 0, REPORT_XMAX)},
        .hidden = pg_bool(res, 0, REPORT_HIDDEN),
        .standby = pg_bool(res, 0, REPORT_STANDBY),
    };
    snprintf(r->who, sizeof r->who, "%s", PQgetvalue(res, 0, REPORT_WHO));
    if (PQgetisnull(res, 0, REPORT_SESSIONS))
        return true;
    r->watermark.sessions = r->sessions = strdup(PQgetvalue(res, 0, REPORT_SESSIONS));
    return r->sessions != NULL;
}

void source_report_free(struct source_report *r)
{
    free(r->sessions);
    *r = (struct source_report){0};
}

/* Runs both statements; a failure of either leaves res[0] and res[1] to be cleared. */
static bool query_both(struct pg *pg, struct source_statement *st, bool sessions, PGresult *res[2],
                       struct err *e)
{
    struct buf pids, began;
    buf_init(&pids, SOURCE_SQL_MAX);
    buf_init(&began, SOURCE_SQL_MAX);
    pg_add_own_sessions(pg_server_of(pg), &pids, &began);
    const char *const about[] = {buf_cstr(&pids), buf_cstr(&began), sessions ? "t" : "f"};
    struct pg_statement statements[2] = {{.sql = report_sql, .n = 3, .params = about}};
    bool ok = ((about[0] && about[1]) || err_memory(e)) &&
              source_statement(st, &statements[1], e) && pg_query_pair(pg, statements, res, e);
    buf_free(&pids);
    buf_free(&began);
    source_statement_free(st);
    return ok;
}

bool source_read_with_report(const struct source_reader *r, struct source_statement *st,
                             bool sessions, struct source_report *report, PGresult **out,
                             struct err *e)
{
    PGresult *res[2] = {NULL, NULL};
    bool ok = query_both(r->pg, st, sessions, res, e) &&
              pg_expect(r->pg, &res[0], 1, REPORT_COLUMNS, e) &&
              pg_expect(r->pg, &res[1], st->rows, st->columns, e) &&
              (read_report(res[0], report) || err_memory(e));
    PQclear(res[0]);
    *out = ok ? res[1] : NULL;
    if (ok)
        return true;
    PQclear(res[1]);
    return err_wrap(e, "could not read '%s'", r->table->label);
}

bool source_read_report(const struct source_reader *r, struct source_report *report, struct err *e)
{
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, 1, 1);
    buf_adds(&st.sql, "SELECT 1");
    if (!source_read_with_report(r, &st, false, report, &res, e))
        return false;
    PQclear(res);
    return true;
}

static const char server_sql[] =
    "SELECT (pg_catalog.pg_control_system()).system_identifier || '-' ||"
    " CASE WHEN pg_catalog.pg_is_in_recovery()"
    "  THEN pg_catalog.lpad(pg_catalog.upper(pg_catalog.to_hex("
    "   (pg_catalog.pg_control_checkpoint()).timeline_id)), 8, '0')"
    "  ELSE pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)"
    " END || '-' || oid"
    " FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";

char *source_server(const struct source_reader *r, struct err *e)
{
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, 1, 1);
    buf_adds(&st.sql, server_sql);
    if (!source_read(r, &st, &res, e))
        return NULL;
    char *server = strdup(PQgetvalue(res, 0, 0));
    PQclear(res);
    if (!server)
        err_memory(e);
    return server;
}
