/* source_slot: the replication slot, and what its position and its transactions mean. */
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "pg/pg.h"
#include "pg/pg_replication.h"
#include "source/source_capture.h"
#include "source/source_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPEN_MS = 200 }; /* at most between two questions which transactions are open */

/* ---- a standby ---- */

static bool is_standby(struct pg *pg, bool *is, struct err *e)
{
    PGresult *res;
    if (!source_ask_row(pg, "SELECT pg_catalog.pg_is_in_recovery()", 1, &res, e))
        return false;
    *is = pg_bool(res, 0, 0);
    PQclear(res);
    return true;
}

bool source_capture_find_standby(struct pg *pg, bool *standby, struct err *e)
{
    if (!is_standby(pg, standby, e))
        return false;
    if (!*standby || pg_server_version(pg) >= 160000)
        return true;
    err_set(e, ERR_USAGE,
            "cannot capture from the write-ahead log: PostgreSQL %s is a standby, which can "
            "decode it from version 16 on",
            pg_server_of(pg)->label);
    return err_hint(e, "source.url has to lead to the primary");
}

/* ---- the slot ---- */

/* From 17 on, a primary reads no more of the log for a failover slot than the standbys have whose
 * slots a setting lists: the list, and the first one that stands still. (A slow one is not
 * meant.) */
#define AWAITED                                                                                    \
    " LEFT JOIN LATERAL (SELECT pg_catalog.translate("                                             \
    "   pg_catalog.current_setting('synchronized_standby_slots', true), ' \"', '') AS slots"       \
    "  WHERE (pg_catalog.to_jsonb(s) ->> 'failover')::bool"                                        \
    "   AND NOT pg_catalog.pg_is_in_recovery()) v ON true"                                         \
    " LEFT JOIN LATERAL (SELECT n.name, CASE WHEN p.slot_name IS NULL THEN 'does not exist'"       \
    "   WHEN p.slot_type <> 'physical' THEN 'is not a physical slot'"                              \
    "   WHEN pg_catalog.to_jsonb(p) ->> 'invalidation_reason' IS NOT NULL THEN 'is lost'"          \
    "   ELSE 'is used by no standby' END AS why,"                                                  \
    "   coalesce(p.slot_type = 'physical'"                                                         \
    "    AND pg_catalog.to_jsonb(p) ->> 'invalidation_reason' IS NULL, false) AS away"             \
    "  FROM pg_catalog.unnest(pg_catalog.string_to_array(v.slots, ',')) n(name)"                   \
    "   LEFT JOIN pg_catalog.pg_replication_slots p ON p.slot_name = n.name"                       \
    "  WHERE p.slot_name IS NULL OR p.slot_type <> 'physical'"                                     \
    "   OR pg_catalog.to_jsonb(p) ->> 'invalidation_reason' IS NOT NULL"                           \
    "   OR (p.active_pid IS NULL"                                                                  \
    "    AND coalesce(p.restart_lsn < pg_catalog.pg_current_wal_flush_lsn(), true))"               \
    "  ORDER BY away LIMIT 1) w ON true"

/* wal_status is there from PostgreSQL 13 on, conflicting and invalidation_reason from 16 and 17.
 * A slot that 18 has given up for being idle has a reason, and its part of the log yet. */
static const char slot_sql[] =
    "SELECT s.plugin = 'pgoutput' AND s.database = pg_catalog.current_database(),"
    " coalesce(pg_catalog.to_jsonb(s) ->> 'wal_status' = 'lost'"
    "  OR (pg_catalog.to_jsonb(s) ->> 'conflicting')::bool"
    "  OR pg_catalog.to_jsonb(s) ->> 'invalidation_reason' IS NOT NULL"
    "  OR s.restart_lsn IS NULL, false),"
    " s.confirmed_flush_lsn, coalesce(s.active_pid, 0),"
    " CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0"
    "  ELSE pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::bigint END,"
    " pg_catalog.pg_is_in_recovery()"
    "  AND coalesce((pg_catalog.to_jsonb(s) ->> 'synced')::bool, false),"
    " coalesce(pg_catalog.to_jsonb(s) ->> 'invalidation_reason',"
    "  CASE WHEN (pg_catalog.to_jsonb(s) ->> 'conflicting')::bool THEN 'rows_removed' END, ''),"
    " coalesce(v.slots <> '', false), coalesce(w.name, ''), coalesce(w.why, ''),"
    " coalesce(w.away, false)"
    " FROM pg_catalog.pg_replication_slots s" AWAITED " WHERE s.slot_name = $1";

enum slot_column {
    SLOT_OURS,
    SLOT_LOST,
    SLOT_CONFIRMED,
    SLOT_PID,
    SLOT_HELD,
    SLOT_COPIED,
    SLOT_REASON,
    SLOT_AWAITS,
    SLOT_HELD_BY,
    SLOT_HELD_WHY,
    SLOT_HELD_AWAY,
    SLOT_COLUMNS
};

/* The server's words for why a slot is of no use, which begin with these, and ours. */
static const struct {
    const char *reason, *why, *remedy;
} reasons[] = {
    {"rows_removed",
     "the primary has removed rows of the catalog that it needs (hot_standby_feedback?)",
     "hot_standby_feedback to on, on the standby"},
    {"wal_level", "wal_level of the primary was not 'logical' for a while", "wal_level to logical"},
    {"idle", "nobody has read it for longer than idle_replication_slot_timeout",
     "idle_replication_slot_timeout to more"},
    {"", "the server has removed a part of its log (max_slot_wal_keep_size?)",
     "max_slot_wal_keep_size to more"},
};

static void explain_lost(struct source_slot *slot, const char *reason)
{
    size_t i = 0;
    while (strncmp(reason, reasons[i].reason, strlen(reasons[i].reason)) != 0)
        i++;
    slot->why = reasons[i].why;
    slot->remedy = reasons[i].remedy;
}

static void read_awaited(const PGresult *res, struct source_slot *slot)
{
    const char *by = PQgetvalue(res, 0, SLOT_HELD_BY);
    slot->awaits = pg_bool(res, 0, SLOT_AWAITS);
    slot->held_for_good = *by && !pg_bool(res, 0, SLOT_HELD_AWAY);
    if (*by)
        snprintf(slot->held, sizeof slot->held,
                 "it waits for slot '%.80s' of synchronized_standby_slots, which %s", by,
                 PQgetvalue(res, 0, SLOT_HELD_WHY));
}

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
        out->copied = pg_bool(res, 0, SLOT_COPIED);
        read_awaited(res, out);
        if (out->status == SOURCE_SLOT_LOST)
            explain_lost(out, PQgetvalue(res, 0, SLOT_REASON));
    }
    PQclear(res);
    return true;
}

static const char writers_sql[] =
    "SELECT pg_catalog.count(*) OVER (), name,"
    " pg_catalog.to_char(began AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
    " FROM (SELECT 'process ' || pid ||"
    "    coalesce(' (' || nullif(application_name, '') || ')', ''), xact_start"
    "   FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL"
    "    AND pid <> pg_catalog.pg_backend_pid()"
    "  UNION ALL SELECT 'PREPARE TRANSACTION ' || pg_catalog.quote_literal(gid), prepared"
    "   FROM pg_catalog.pg_prepared_xacts) w(name, began)"
    " ORDER BY began LIMIT 1";

/* what: waits for them. */
static void report_writers(const char *what, const char *slot, struct pg *pg)
{
    struct source_statement st;
    struct err ignored; /* it is only a line in the log */
    PGresult *res;
    source_statement_init(&st, SOURCE_ANY_ROWS, 3);
    buf_adds(&st.sql, writers_sql);
    if (source_run(pg, &st, &res, &ignored) && PQntuples(res) == 1)
        log_info_with(LOG_FIELDS(log_text("slot", slot),
                                 log_int("transactions", strtoll(PQgetvalue(res, 0, 0), NULL, 10)),
                                 log_text("since", PQgetvalue(res, 0, 2))),
                      "%s slot '%s' waits for open transactions: %s, the oldest by %s since %s UTC",
                      what, slot, PQgetvalue(res, 0, 0), PQgetvalue(res, 0, 1),
                      PQgetvalue(res, 0, 2));
    PQclear(res);
}

/* The role as SQL names it, into out. */
static void read_role(struct pg *pg, char *out, size_t size)
{
    struct err ignored; /* it is only a hint */
    PGresult *res;
    snprintf(out, size, "...");
    if (source_ask_row(pg, "SELECT pg_catalog.quote_ident(current_user)", 1, &res, &ignored))
        snprintf(out, size, "%s", PQgetvalue(res, 0, 0));
    PQclear(res);
}

static bool explain_slot(const char *slot, struct pg *pg, struct err *e)
{
    char role[140];
    struct err cause = *e;
    if (strstr(cause.text, "all replication slots are in use"))
        return err_set(e, ERR_USAGE, "cannot create slot '%s': %s", slot, cause.text) ||
               err_hint(e, "drop one that nobody needs (SELECT * FROM pg_replication_slots), or "
                           "ALTER SYSTEM SET max_replication_slots, then restart the server");
    if (strstr(cause.text, "already exists")) /* Patroni makes its slots again, too */
        e->kind = ERR_PASSING;
    if (e->kind != ERR_FINAL)
        return err_wrap(e, "could not create slot '%s'", slot);
    err_set(e, ERR_USAGE, "cannot create slot '%s': %s", slot, cause.text);
    read_role(pg, role, sizeof role);
    return err_hint(e,
                    "a superuser runs: ALTER ROLE %s REPLICATION; managed servers have a role for "
                    "it, such as rds_replication",
                    role);
}

static void report_standby(const char *slot)
{
    log_info_with(LOG_FIELDS(log_text("slot", slot)),
                  "creating slot '%s' on a standby waits until its primary tells of its "
                  "transactions, which SELECT pg_log_standby_snapshot() there hastens",
                  slot);
}

bool source_capture_make_slot(struct pg *pg, const char *slot, struct err *e)
{
    struct source_statement st;
    PGresult *res = NULL;
    bool failover = pg_server_version(pg) >= 170000;
    bool standby;
    if (!is_standby(pg, &standby, e))
        return false;
    if (standby)
        report_standby(slot);
    else
        report_writers("creating", slot, pg);
    source_statement_init(&st, 1, 1);
    buf_addf(
        &st.sql,
        "SELECT slot_name FROM pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput'%s)",
        failover ? ", failover => NOT pg_catalog.pg_is_in_recovery()" : "");
    source_bind(&st, slot);
    bool ok = source_run(pg, &st, &res, e) || explain_slot(slot, pg, e);
    PQclear(res);
    return ok;
}

/* *over: no transaction below `xid` (0: that may exist now, and *xid is set) is open. */
static bool ask_open(struct pg *pg, int64_t *xid, bool *over, struct err *e)
{
    struct source_statement st;
    char number[24];
    PGresult *res;
    snprintf(number, sizeof number, "%lld", (long long)*xid);
    source_statement_init(&st, 1, 2);
    buf_adds(&st.sql, "SELECT pg_catalog.txid_snapshot_xmax(s),"
                      " pg_catalog.txid_snapshot_xmin(s) >= CASE WHEN $1::bigint = 0"
                      " THEN pg_catalog.txid_snapshot_xmax(s) ELSE $1::bigint END"
                      " FROM pg_catalog.txid_current_snapshot() s");
    source_bind(&st, number);
    if (!source_run(pg, &st, &res, e))
        return err_wrap(e, "could not determine which transactions are open");
    *xid = *xid ? *xid : pg_int(res, 0, 0);
    *over = pg_bool(res, 0, 1);
    PQclear(res);
    return true;
}

bool source_capture_wait(struct pg *pg, const char *slot, struct err *e)
{
    int64_t xid = 0;
    bool over = false, told = false;
    if (!ask_open(pg, &xid, &over, e))
        return false;
    for (int64_t wait_ms = 1; !over; wait_ms = wait_ms < OPEN_MS ? 2 * wait_ms : wait_ms) {
        if (wait_ms >= OPEN_MS && !told)
            report_writers("joining", slot, pg);
        told |= wait_ms >= OPEN_MS;
        if (!stop_sleep(wait_ms))
            return stop_err(e);
        if (!ask_open(pg, &xid, &over, e))
            return false;
    }
    return true;
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
    if (!source_ask_row(pg,
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
