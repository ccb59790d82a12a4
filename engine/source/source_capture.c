/* source_capture: whether the server and the tables can be captured from the log, and how the log
 * names them. */
#include "source/source_capture.h"

#include "base/err.h"
#include "base/log.h"
#include "pg/pg_replication.h"
#include "script/pipeline.h"
#include "source/source_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- the server ---- */

enum {
    OLDEST_LOG = 110000,      /* an older one does not tell of TRUNCATE */
    PARTITIONED_LOG = 130000, /* an older one tells of partitions alone, each by its own name */
};

static const char server_sql[] = "SELECT pg_catalog.current_setting('wal_level'),"
                                 " pg_catalog.current_setting('max_replication_slots')::int > 0,"
                                 " pg_catalog.current_setting('max_wal_senders')::int > 0";

static bool check_server(struct pg *pg, struct err *e)
{
    PGresult *res;
    if (pg_server_version(pg) < OLDEST_LOG)
        return err_set(e, ERR_USAGE,
                       "cannot capture from the write-ahead log: PostgreSQL %s is version %d, "
                       "whose log does not tell of TRUNCATE; at least version 11 is required",
                       pg_server_of(pg)->label, pg_server_version(pg) / 10000) ||
               err_hint(e, "capture = \"poll\" works with this version");
    if (!source_ask_row(pg, server_sql, 3, &res, e))
        return false;
    bool logical = strcmp(PQgetvalue(res, 0, 0), "logical") == 0, slots = pg_bool(res, 0, 1),
         senders = pg_bool(res, 0, 2);
    const char *none = slots ? "max_wal_senders" : "max_replication_slots";
    if (!logical)
        err_set(e, ERR_USAGE,
                "cannot capture from the write-ahead log: wal_level of PostgreSQL %s "
                "is '%s'",
                pg_server_of(pg)->label, PQgetvalue(res, 0, 0));
    else if (!slots || !senders)
        err_set(e, ERR_USAGE, "cannot capture from the write-ahead log: %s of PostgreSQL %s is 0",
                none, pg_server_of(pg)->label);
    PQclear(res);
    if (!logical)
        return err_hint(e, "ALTER SYSTEM SET wal_level = logical, then restart the server; managed "
                           "servers have a parameter for it, such as rds.logical_replication");
    return (slots && senders) ||
           err_hint(e, "ALTER SYSTEM SET %s = 10, then restart the server", none);
}

/* ---- tables ---- */

/* $1: the table. Of the table, its partitions and the tables that inherit from it: whether they can
 * be published; one whose rows have no identity; of the columns $2 those whose old value is not in
 * the log, and those that are generated, and not in the log at all. From PostgreSQL 18 on, also one
 * with virtual columns, and one that is FULL in spite of them; and whether the publication must
 * have the generated columns that are stored.
 *
 * An identity is a primary key (by default), an index that was chosen, or FULL: the whole row. One
 * that is deferrable is none; columns that an index only includes are not in it. PostgreSQL 18
 * refuses UPDATE and DELETE of a row whose identity has a generated column that is not published;
 * a virtual one never is. */
static const char identity_sql[] =
    "WITH RECURSIVE parts (oid) AS ("
    "  SELECT $1::pg_catalog.regclass::pg_catalog.oid"
    "  UNION SELECT i.inhrelid FROM parts JOIN pg_catalog.pg_inherits i ON i.inhparent ="
    "   parts.oid),"
    " leaves AS ("
    "  SELECT c.oid, c.relreplident, c.relkind, c.relpersistence,"
    "   pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,"
    "   (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid"
    "     AND i.indimmediate"
    "     AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident"
    "              ELSE false END LIMIT 1) AS identity"
    "    FROM parts JOIN pg_catalog.pg_class c ON c.oid = parts.oid"
    "     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind <> 'p'),"
    " names (name) AS (SELECT pg_catalog.unnest($2::pg_catalog.text[])),"
    " columns AS (SELECT l.name AS of, a.attname AS name, l.relreplident = 'f' AS is_full,"
    "   l.relreplident = 'f' OR EXISTS (SELECT FROM pg_catalog.pg_index i,"
    "     pg_catalog.generate_series(0,"
    "      coalesce((pg_catalog.to_jsonb(i) ->> 'indnkeyatts')::int, i.indnatts) - 1) k"
    "    WHERE i.indexrelid = l.identity AND i.indkey[k] = a.attnum) AS has_old,"
    "   CASE WHEN a.atthasdef THEN pg_catalog.to_jsonb(a) ->> 'attgenerated' END AS generated"
    "  FROM leaves l JOIN pg_catalog.pg_attribute a ON a.attrelid = l.oid"
    "   AND a.attnum > 0 AND NOT a.attisdropped)"
    " SELECT coalesce(pg_catalog.bool_and(relkind = 'r' AND relpersistence = 'p'), true),"
    "  pg_catalog.min(name) FILTER (WHERE identity IS NULL AND relreplident <> 'f'),"
    "  (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(n.name), ', ') FROM names n"
    "    WHERE EXISTS (SELECT FROM columns c WHERE c.name = n.name AND NOT c.has_old)),"
    "  (SELECT pg_catalog.min(c.of) FROM columns c JOIN names n ON n.name = c.name"
    "    WHERE NOT c.has_old),"
    "  (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(n.name), ', ') FROM names n"
    "    JOIN pg_catalog.pg_attribute a ON a.attname = n.name"
    "     AND a.attrelid = $1::pg_catalog.regclass AND a.atthasdef"
    "    WHERE pg_catalog.to_jsonb(a) ->> 'attgenerated' = 'v' OR ($3::int < 180000"
    "     AND pg_catalog.to_jsonb(a) ->> 'attgenerated' = 's')),"
    "  (SELECT pg_catalog.min(c.of) FROM columns c WHERE c.generated = 'v'),"
    "  (SELECT pg_catalog.min(c.of) FROM columns c WHERE c.generated = 'v' AND c.is_full),"
    "  EXISTS (SELECT FROM columns c WHERE c.generated = 's' AND $3::int >= 180000"
    "   AND (c.has_old OR c.name IN (SELECT n.name FROM names n))),"
    "  EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = $1::pg_catalog.regclass"
    "   AND c.relkind = 'p')"
    " FROM leaves";

enum identity_column {
    IDENTITY_PLAIN,
    IDENTITY_LACKS,
    IDENTITY_HIDDEN,
    IDENTITY_HIDING,
    IDENTITY_GENERATED,
    IDENTITY_VIRTUAL,
    IDENTITY_REFUSING,
    IDENTITY_STORED,
    IDENTITY_PARTITIONED,
    IDENTITY_COLUMNS
};

static void take_identity(const PGresult *res, int version, struct source_identity *out)
{
    *out = (struct source_identity){.plain = pg_bool(res, 0, IDENTITY_PLAIN),
                                    .early = version < PARTITIONED_LOG &&
                                             pg_bool(res, 0, IDENTITY_PARTITIONED),
                                    .stored = pg_bool(res, 0, IDENTITY_STORED)};
    snprintf(out->lacking, sizeof out->lacking, "%s", PQgetvalue(res, 0, IDENTITY_LACKS));
    snprintf(out->hidden, sizeof out->hidden, "%s", PQgetvalue(res, 0, IDENTITY_HIDDEN));
    snprintf(out->hiding, sizeof out->hiding, "%s", PQgetvalue(res, 0, IDENTITY_HIDING));
    snprintf(out->generated, sizeof out->generated, "%s", PQgetvalue(res, 0, IDENTITY_GENERATED));
    snprintf(out->virtual, sizeof out->virtual, "%s", PQgetvalue(res, 0, IDENTITY_VIRTUAL));
    snprintf(out->refusing, sizeof out->refusing, "%s", PQgetvalue(res, 0, IDENTITY_REFUSING));
}

bool source_read_identity(const struct source_reader *r, const struct pipeline_names *columns,
                          struct source_identity *out, struct err *e)
{
    int version = pg_server_version(r->pg);
    struct source_statement st;
    struct buf names;
    char number[16];
    PGresult *res;
    snprintf(number, sizeof number, "%d", version);
    source_statement_init(&st, 1, IDENTITY_COLUMNS);
    buf_init(&names, SOURCE_SQL_MAX);
    pg_add_array(&names, (const char *const *)columns->list, columns->n);
    buf_adds(&st.sql, identity_sql);
    source_bind(&st, r->table->name);
    source_bind_taken(&st, source_finish(&names, e));
    source_bind(&st, number);
    if (!source_read(r, &st, &res, e))
        return false;
    take_identity(res, version, out);
    PQclear(res);
    return true;
}

/* The columns whose old values tell which documents a change concerns. */
const struct pipeline_names *source_telling_columns(const struct source *s, size_t table)
{
    const struct pipeline *p = s->pipeline;
    if (table == 0)
        return &p->source.key;
    const struct pipeline_related *r = &p->source.related[table - 1];
    return s->tables[table].affects_as_is ? &r->affects : &r->key;
}

static bool refuse(const struct source *s, size_t table, const char *why, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    const struct pipeline *p = s->pipeline;
    err_set(e, ERR_USAGE, "cannot capture the changes of '%s' from the write-ahead log: %s",
            t->label, why);
    return pipeline_at_line(e, p, t->related ? t->related->table_line : p->source.table_line);
}

/* Why the table is not to be published. */
static void explain(const struct source_identity *id, char *out, size_t size)
{
    if (id->early)
        snprintf(out, size,
                 "it is partitioned, and PostgreSQL publishes such tables from version "
                 "13 on");
    else if (!id->plain)
        snprintf(out, size, "it is not an ordinary table");
    else if (*id->refusing)
        snprintf(out, size,
                 "with REPLICA IDENTITY FULL and virtual generated columns, PostgreSQL refuses "
                 "UPDATE and DELETE on %s once it is published",
                 id->refusing);
    else
        snprintf(out, size, "the rows of %s have no replica identity", id->lacking);
}

/* SQL that puts all columns into the log, where that is possible. */
static void add_remedy(const struct source_identity *id, const char *table, char *out, size_t size)
{
    snprintf(out, size,
             *id->virtual ? "ALTER TABLE %s REPLICA IDENTITY USING INDEX (a unique index that has "
                            "them, as FULL does not work with virtual columns)"
                          : "ALTER TABLE %s REPLICA IDENTITY FULL",
             table);
}

static bool refuse_root(const struct source *s, const struct source_identity *id, struct err *e)
{
    char why[400];
    explain(id, why, sizeof why);
    refuse(s, 0, why, e);
    if (id->early)
        return err_hint(e, "use capture = \"poll\"");
    if (!id->plain)
        return err_hint(e, "capture = \"poll\" reads views, foreign and unlogged tables");
    if (*id->refusing)
        return err_hint(e,
                        "ALTER TABLE %s REPLICA IDENTITY DEFAULT, if it has a primary key, or make "
                        "the columns STORED",
                        id->refusing);
    return *id->virtual
               ? err_hint(e, "ALTER TABLE %s ADD PRIMARY KEY (...), not DEFERRABLE", id->lacking)
               : err_hint(e,
                          "ALTER TABLE %s ADD PRIMARY KEY (...), not DEFERRABLE, or ALTER TABLE "
                          "%s REPLICA IDENTITY FULL",
                          id->lacking, id->lacking);
}

static bool refuse_generated(const struct source *s, size_t table, const char *columns,
                             struct err *e)
{
    char why[600];
    snprintf(why, sizeof why, "it does not hold generated columns: %s", columns);
    refuse(s, table, why, e);
    return err_hint(e, "use columns that are not generated, or capture = \"poll\"");
}

static void warn_related(const struct source *s, size_t table, const struct source_identity *id)
{
    const struct source_table *t = &s->tables[table];
    const struct pipeline *p = s->pipeline;
    char why[400], remedy[400] = "";
    explain(id, why, sizeof why);
    if (*id->refusing)
        snprintf(remedy, sizeof remedy, "ALTER TABLE %s REPLICA IDENTITY DEFAULT", id->refusing);
    else if (id->plain && !id->early)
        add_remedy(id, id->lacking, remedy, sizeof remedy);
    log_warn_with(
        LOG_FIELDS(LOG_PLACE(p->script, t->related->table_line), log_text("table", t->label)),
        "%s:%d: the log does not have the changes of '%s': %s; only a sweep finds them%s%s%s",
        p->script, t->related->table_line, t->label, why, *remedy ? "; with " : "", remedy,
        *remedy ? " the log has them" : "");
}

static void warn_hidden(const struct source *s, size_t table, const struct source_identity *id)
{
    const struct source_table *t = &s->tables[table];
    const struct pipeline *p = s->pipeline;
    int line = t->related ? t->related->table_line : p->source.table_line;
    char remedy[400];
    add_remedy(id, id->hiding, remedy, sizeof remedy);
    log_warn_with(
        LOG_FIELDS(LOG_PLACE(p->script, line), log_text("table", t->label)),
        "%s:%d: the log does not have the old values of %s in '%s': of a row that is deleted, "
        "or moved to another document, only a sweep finds the document that had it; with "
        "%s the log has them",
        p->script, line, id->hidden, t->label, remedy);
}

/* The log has the values as they are: the server converts them only of rows that are there. */
static void warn_converted(const struct source *s, size_t table)
{
    const struct source_table *t = &s->tables[table];
    log_warn_with(
        LOG_FIELDS(LOG_PLACE(s->pipeline->script, t->related->affects_line),
                   log_text("table", t->label)),
        "%s:%d: 'affects' has another type than the root's key: of a row of '%s' that is "
        "deleted, or moved to another document, only a sweep finds the document that had it; "
        "with columns of one type, or an index_field, it is found at once",
        s->pipeline->script, t->related->affects_line, t->label);
}

/* Whether the table is to be published. */
bool source_is_publishable(const struct source_identity *id)
{
    return id->plain && !id->early && !*id->lacking && !*id->refusing;
}

static bool check_table(const struct source *s, size_t table, struct pg *pg, struct err *e)
{
    const struct source_reader r = source_reader(s, table, pg);
    struct source_identity id;
    if (!source_read_identity(&r, source_telling_columns(s, table), &id, e))
        return false;
    if (*id.generated)
        return refuse_generated(s, table, id.generated, e);
    if (!source_is_publishable(&id) && table == 0)
        return refuse_root(s, &id, e);
    if (!source_is_publishable(&id))
        warn_related(s, table, &id);
    else if (table > 0 && s->pipeline->source.related[table - 1].index_field)
        return true; /* the index has what the log does not tell */
    else if (id.hidden[0])
        warn_hidden(s, table, &id);
    else if (table > 0 && s->pipeline->source.related[table - 1].affects.n > 0 &&
             !s->tables[table].affects_as_is)
        warn_converted(s, table);
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

/* ---- as the log names them ---- */

static const char relation_sql[] =
    "WITH RECURSIVE parts (oid) AS ("
    "  SELECT $1::pg_catalog.regclass::pg_catalog.oid"
    "  UNION SELECT i.inhrelid FROM parts JOIN pg_catalog.pg_inherits i ON i.inhparent = parts.oid"
    "   JOIN pg_catalog.pg_class p ON p.oid = parts.oid AND p.relkind <> 'p')"
    " SELECT c.oid, n.nspname, c.relname, pg_catalog.format('%I.%I', n.nspname, c.relname)"
    "  FROM parts JOIN pg_catalog.pg_class c ON c.oid = parts.oid"
    "   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    "  ORDER BY c.oid <> $1::pg_catalog.regclass, c.oid";

enum relation_column {
    RELATION_OID,
    RELATION_SCHEMA,
    RELATION_NAME,
    RELATION_SQL,
    RELATION_COLUMNS
};

static bool take_relations(const PGresult *res, struct source_relation *out)
{
    int n = PQntuples(res);
    out->schema = strdup(PQgetvalue(res, 0, RELATION_SCHEMA));
    out->name = strdup(PQgetvalue(res, 0, RELATION_NAME));
    out->oids = calloc((size_t)n, sizeof *out->oids);
    bool ok = out->schema && out->name && out->oids;
    for (int i = 0; ok && i < n; i++) {
        out->oids[i] = (uint32_t)pg_int(res, i, RELATION_OID);
        ok = keylist_add(&out->names, PQgetvalue(res, i, RELATION_SQL));
    }
    return ok;
}

bool source_capture_relation(const struct source *s, size_t table, struct pg *pg,
                             struct source_relation *out, struct err *e)
{
    const struct source_reader r = source_reader(s, table, pg);
    struct source_statement st;
    PGresult *res;
    source_relation_free(out);
    source_statement_init(&st, SOURCE_ANY_ROWS, RELATION_COLUMNS);
    buf_adds(&st.sql, relation_sql);
    source_bind(&st, r.table->name);
    if (!source_read(&r, &st, &res, e))
        return false;
    bool ok = PQntuples(res) > 0 ? take_relations(res, out) || err_memory(e)
                                 : err_set(e, ERR_FINAL, "table '%s' was dropped", r.table->label);
    PQclear(res);
    return ok;
}

void source_relation_free(struct source_relation *r)
{
    free(r->schema);
    free(r->name);
    free(r->oids);
    keylist_free(&r->names);
    *r = (struct source_relation){0};
}
