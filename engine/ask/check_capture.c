/* check_capture: capture from the write-ahead log: settings, privileges, the slot. */
#include "ask/check_internal.h"
#include "source/source_capture.h"

#include <string.h>

static const char server_sql[] =
    "SELECT pg_catalog.current_setting('max_replication_slots')::int,"
    " (SELECT count(*) FROM pg_catalog.pg_replication_slots),"
    " pg_catalog.current_setting('max_wal_senders')::int,"
    " (SELECT count(*) FROM pg_catalog.pg_stat_get_wal_senders()),"
    " CASE WHEN coalesce(pg_catalog.current_setting('idle_replication_slot_timeout', true),"
    "  '0') = '0' THEN coalesce(pg_catalog.current_setting('max_slot_wal_keep_size', true),"
    "  'missing') END,"
    " (SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = current_user)"
    "  OR EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname IN ('rds_replication',"
    "   'cloudsqlsuperuser', 'azure_pg_admin') AND pg_catalog.pg_has_role(oid, 'MEMBER')),"
    " pg_catalog.quote_ident(current_user),"
    " pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),"
    " pg_catalog.quote_ident(pg_catalog.current_database()),"
    " pg_catalog.pg_is_in_recovery() AND pg_catalog.current_setting('server_version_num')::int"
    "  < 160000";

enum server_column {
    SERVER_SLOTS,
    SERVER_SLOTS_USED,
    SERVER_SENDERS,
    SERVER_SENDERS_USED,
    SERVER_KEEP,
    SERVER_MAY_REPLICATE,
    SERVER_ROLE,
    SERVER_MAY_CREATE,
    SERVER_DATABASE,
    SERVER_OLD_STANDBY,
    SERVER_COLUMNS
};

/* limit: max_slot_wal_keep_size; "missing": the server does not have it yet. */
static void check_keep_size(struct check *c, const char *limit)
{
    bool missing = strcmp(limit, "missing") == 0;
    if (!missing && strcmp(limit, "-1") != 0)
        return;
    check_add(c, CHECK_NOTE, "keep_size", c->user.pipeline.source.capture_line,
              "while the pipeline is stopped, the server keeps the log for it without a limit");
    if (missing)
        check_remedy(c,
                     "PostgreSQL 13 or later can limit it; before, SELECT "
                     "pg_drop_replication_slot('%s') when the pipeline is not to run again",
                     c->user.pipeline.source.slot);
    else
        check_remedy(c, "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB': beyond it the slot is "
                        "lost, and the next run compares every row");
}

static void check_slots(struct check *c, const PGresult *res, bool missing)
{
    int line = c->user.pipeline.source.capture_line;
    if (missing && pg_int(res, 0, SERVER_SLOTS) <= pg_int(res, 0, SERVER_SLOTS_USED)) {
        check_add(c, CHECK_ERROR, "slots", line, "no replication slot is free: all %s are in use",
                  PQgetvalue(res, 0, SERVER_SLOTS));
        check_remedy(c, "ALTER SYSTEM SET max_replication_slots = %lld, then restart the server",
                     (long long)pg_int(res, 0, SERVER_SLOTS) + 5);
    }
    if (pg_int(res, 0, SERVER_SENDERS) <= pg_int(res, 0, SERVER_SENDERS_USED)) {
        check_add(c, CHECK_ERROR, "senders", line, "no wal sender is free: all %s are in use",
                  PQgetvalue(res, 0, SERVER_SENDERS));
        check_remedy(c, "ALTER SYSTEM SET max_wal_senders = %lld, then restart the server",
                     (long long)pg_int(res, 0, SERVER_SENDERS) + 5);
    }
    if (pg_bool(res, 0, SERVER_OLD_STANDBY)) {
        check_add(c, CHECK_ERROR, "standby", c->user.pipeline.source.url_line,
                  "a standby before PostgreSQL 16 cannot decode the log");
        check_remedy(c, "url = \"...\" in source: the primary's address");
    }
    check_keep_size(c, PQgetvalue(res, 0, SERVER_KEEP));
}

static void check_rights(struct check *c, const PGresult *res, bool published)
{
    int line = c->user.pipeline.source.capture_line;
    if (!pg_bool(res, 0, SERVER_MAY_REPLICATE)) {
        check_add(c, CHECK_ERROR, "replication", line,
                  "the user %s may not read the log: it lacks REPLICATION",
                  PQgetvalue(res, 0, SERVER_ROLE));
        check_remedy(c, "ALTER ROLE %s REPLICATION", PQgetvalue(res, 0, SERVER_ROLE));
    }
    if (!published && !pg_bool(res, 0, SERVER_MAY_CREATE)) {
        check_add(c, CHECK_ERROR, "publication", line,
                  "the user %s may not create publication '%s'", PQgetvalue(res, 0, SERVER_ROLE),
                  c->user.pipeline.source.publication);
        check_remedy(c, "GRANT CREATE ON DATABASE %s TO %s", PQgetvalue(res, 0, SERVER_DATABASE),
                     PQgetvalue(res, 0, SERVER_ROLE));
    }
}

/* Who makes a publication of a table has to own it. */
static void check_owners(struct check *c)
{
    for (size_t i = 0; i < c->user.source.n_tables; i++) {
        const struct source_table *t = &c->user.source.tables[i];
        PGresult *res = check_query(
            c, &(struct check_sql){"owner",
                                   "SELECT pg_catalog.pg_has_role(relowner, 'USAGE'),"
                                   " pg_catalog.pg_get_userbyid(relowner)"
                                   " FROM pg_catalog.pg_class WHERE oid = $1::pg_catalog.regclass",
                                   2,
                                   {t->name}});
        if (res && PQntuples(res) == 1 && !pg_bool(res, 0, 0)) {
            check_add(c, CHECK_ERROR, "owner",
                      t->related ? t->related->table_line : c->user.pipeline.source.table_line,
                      "'%s' belongs to %s, who alone can publish its changes", t->label,
                      PQgetvalue(res, 0, 1));
            check_remedy(c, "as %s: CREATE PUBLICATION \"%s\" FOR TABLE %s, ...",
                         PQgetvalue(res, 0, 1), c->user.pipeline.source.publication, t->name);
        }
        PQclear(res);
    }
}

static void check_slot(struct check *c, const struct source_slot *slot)
{
    enum { GIGABYTE = 1 << 30 };
    const char *name = c->user.pipeline.source.slot;
    int line = c->user.pipeline.source.capture_line;
    if (slot->status == SOURCE_SLOT_LOST) {
        check_add(c, CHECK_WARNING, "slot", line,
                  "slot '%s' is lost: %s; the next run makes another one, and compares every row",
                  name, slot->why);
        check_remedy(c, "ALTER SYSTEM SET %s, so that it does not happen again", slot->remedy);
    } else if (slot->copied) {
        check_add(c, CHECK_ERROR, "standby", c->user.pipeline.source.url_line,
                  "slot '%s' is a copy of the primary's, which cannot be read on this standby",
                  name);
        check_remedy(c, "url = \"...\" in source: the primary's address");
    } else if (slot->status == SOURCE_SLOT_FOREIGN) {
        check_add(c, CHECK_ERROR, "slot", line,
                  "slot '%s' is of another database, or another program's", name);
        check_remedy(c, "slot = \"...\" in source, another name");
    } else if (slot->status == SOURCE_SLOT_READY && slot->held_bytes > GIGABYTE) {
        check_add(c, CHECK_WARNING, "slot", line,
                  "slot '%s' holds %lld MB of the log: nobody has read it for a while", name,
                  (long long)(slot->held_bytes >> 20));
        check_remedy(c, "run the pipeline, or SELECT pg_drop_replication_slot('%s')", name);
    }
}

/* A standby that is away may come back. */
static void check_held(struct check *c, const struct source_slot *slot)
{
    if (!*slot->held)
        return;
    check_add(c, slot->held_for_good ? CHECK_ERROR : CHECK_WARNING, "standby_slots",
              c->user.pipeline.source.capture_line,
              "PostgreSQL keeps back the log of slot '%s': %s: changes do not arrive",
              c->user.pipeline.source.slot, slot->held);
    check_remedy(c, SOURCE_SLOT_HELD_HINT);
}

/* The script polls, and its slot of before still holds the log. */
static void check_left_slot(struct check *c, const struct source_slot *slot)
{
    const struct pipeline *p = &c->user.pipeline;
    if (slot->status != SOURCE_SLOT_READY && slot->status != SOURCE_SLOT_LOST)
        return;
    check_add(c, CHECK_WARNING, "slot", p->source.table_line,
              "slot '%s' is left of capture = \"wal\": the server keeps the log for it",
              p->source.slot);
    check_remedy(c, "SELECT pg_drop_replication_slot('%s')", p->source.slot);
}

void check_capture(struct check *c)
{
    const struct pipeline *p = &c->user.pipeline;
    struct source_slot slot;
    struct err e;
    bool published = false;
    if (!source_capture_find_slot(c->pg, p->source.slot, &slot, &e)) {
        check_add_err(c, "slot", p->source.capture_line, &e);
        return;
    }
    if (!p->source.wal) {
        check_left_slot(c, &slot);
        return;
    }
    check_divert(c, "identity");
    bool fit = source_capture_check(&c->user.source, c->pg, &e);
    if (!fit)
        check_add_err(c, "identity", p->source.capture_line, &e);
    check_divert(c, NULL);
    check_slot(c, &slot);
    check_held(c, &slot);
    if (!(fit ? source_capture_check_publication(&c->user.source, c->pg, p->source.publication,
                                                 &published, &e)
              : source_capture_has_publication(c->pg, p->source.publication, &published, &e)))
        check_add_err(c, "publication", p->source.capture_line, &e);
    PGresult *res =
        check_query(c, &(struct check_sql){"server", server_sql, SERVER_COLUMNS, {NULL}});
    if (res && PQntuples(res) == 1) {
        check_slots(c, res, slot.status == SOURCE_SLOT_MISSING);
        check_rights(c, res, published);
    }
    PQclear(res);
    if (!published)
        check_owners(c);
}
