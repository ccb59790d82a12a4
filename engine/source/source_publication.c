/* source_publication: the publication of the script's tables. */
#include "base/err.h"
#include "base/log.h"
#include "model/keylist.h"
#include "pg/pg.h"
#include "source/source_capture.h"
#include "source/source_internal.h"

#include <stdlib.h>
#include <string.h>

static bool run_command(struct pg *pg, const char *sql, struct err *e)
{
    PGresult *res = NULL;
    bool ok = pg_query(pg, sql, 0, NULL, &res, e);
    PQclear(res);
    return ok;
}

/* ---- the publication ---- */

/* What the publication has: its options, and of the tables $2 those that it lacks. */
static const char publication_sql[] =
    "SELECT p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate,"
    " coalesce(pg_catalog.to_jsonb(p) ->> 'pubgencols', 's') = 's',"
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
    " (SELECT pg_catalog.min(t) FROM pg_catalog.unnest($2::pg_catalog.text[]) t"
    "   JOIN pg_catalog.pg_publication_rel r ON r.prrelid = t::pg_catalog.regclass"
    "   WHERE r.prpubid = p.oid AND coalesce(pg_catalog.to_jsonb(r) ->> 'prqual',"
    "    pg_catalog.to_jsonb(r) ->> 'prattrs') IS NOT NULL)"
    " FROM pg_catalog.pg_publication p WHERE p.pubname = $1";

enum publication_column {
    PUBLICATION_WHOLE,
    PUBLICATION_STORED,
    PUBLICATION_VIA_ROOT,
    PUBLICATION_LACKS,
    PUBLICATION_FILTERED,
    PUBLICATION_COLUMNS
};

struct publishing {
    struct pg *pg;
    const char *publication;
    struct keylist tables; /* owned: SQL names, each once */
    bool stored;           /* generated columns of theirs must be published */
};

static bool has_table(const struct publishing *p, const char *name)
{
    for (size_t i = 0; i < p->tables.n; i++)
        if (strcmp(p->tables.keys[i], name) == 0)
            return true;
    return false;
}

static bool add_tables(struct publishing *p, const struct source_relation *relation)
{
    for (size_t i = 0; i < relation->names.n; i++)
        if (!has_table(p, relation->names.keys[i]) &&
            !keylist_add(&p->tables, relation->names.keys[i]))
            return false;
    return true;
}

static bool find_tables(const struct source *s, struct publishing *p, struct err *e)
{
    for (size_t i = 0; i < s->n_tables; i++) {
        const struct source_reader r = source_reader(s, i, p->pg);
        struct source_identity id;
        struct source_relation relation = {0};
        if (!source_read_identity(&r, source_telling_columns(s, i), &id, e))
            return false;
        if (!source_is_publishable(&id))
            continue;
        p->stored |= id.stored;
        bool ok = source_capture_relation(s, i, p->pg, &relation, e) &&
                  (add_tables(p, &relation) || err_memory(e));
        source_relation_free(&relation);
        if (!ok)
            return false;
    }
    return true;
}

static bool read_publication(const struct publishing *p, PGresult **out, struct err *e)
{
    struct source_statement st;
    struct buf list;
    source_statement_init(&st, SOURCE_ANY_ROWS, PUBLICATION_COLUMNS);
    buf_init(&list, SOURCE_SQL_MAX);
    pg_add_array(&list, (const char *const *)p->tables.keys, p->tables.n);
    buf_adds(&st.sql, publication_sql);
    source_bind(&st, p->publication);
    source_bind_taken(&st, source_finish(&list, e));
    return source_run(p->pg, &st, out, e);
}

/* Runs a statement (freed) that needs the tables' owner. If it is refused, who may run it does so
 * by hand; a long one is logged, as a hint has no room for it. */
static bool run_as_owner(struct pg *pg, const char *what, struct buf *sql, struct err *e)
{
    const char *where = "";
    char *text = source_finish(sql, e);
    bool ok = text && run_command(pg, text, e);
    if (text && !ok && strstr(e->text, "in a read-only transaction")) { /* a standby's */
        e->kind = ERR_FINAL;
        where = "on the primary, ";
    }
    if (text && !ok && e->kind == ERR_FINAL) {
        struct err cause = *e;
        err_set(e, ERR_USAGE, "cannot %s: %s", what, cause.text);
        if (strlen(text) < sizeof e->hint - 80) {
            err_hint(e, "%sthe tables' owner, or a superuser, can run: %s", where, text);
        } else {
            log_error("%s", text);
            err_hint(e, "%sthe tables' owner, or a superuser, can run the statement above", where);
        }
    }
    free(text);
    return ok;
}

/* What a publication is made with. Generated columns are there although they may not be needed: if
 * one comes into the identity of a table later, PostgreSQL would refuse UPDATE and DELETE. */
static const char *options_of(const struct publishing *p)
{
    int version = pg_server_version(p->pg);
    return version >= 180000   ? " WITH (publish_via_partition_root = true,"
                                 " publish_generated_columns = stored)"
           : version >= 130000 ? " WITH (publish_via_partition_root = true)"
                               : "";
}

/* CREATE PUBLICATION etl_films FOR TABLE content.film, content.genre
 *  WITH (publish_via_partition_root = true) */
static bool make_publication(const struct publishing *p, struct err *e)
{
    struct buf sql;
    buf_init(&sql, SOURCE_SQL_MAX);
    buf_adds(&sql, "CREATE PUBLICATION ");
    pg_add_identifier(&sql, p->publication);
    for (size_t i = 0; i < p->tables.n; i++)
        buf_addf(&sql, "%s%s", i ? ", " : " FOR TABLE ", p->tables.keys[i]);
    buf_adds(&sql, options_of(p));
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

/* A setting that hides changes: ALTER PUBLICATION "etl_films" SET (<remedy>) */
static bool refuse_setting(const char *publication, const char *what, const char *remedy,
                           struct err *e)
{
    err_set(e, ERR_USAGE, "publication '%s' %s", publication, what);
    return err_hint(e, "ALTER PUBLICATION \"%s\" SET (%s)", publication, remedy);
}

/* One that somebody else made may hide changes. */
static bool check_publication(const struct publishing *p, const PGresult *res, struct err *e)
{
    if (!PQgetisnull(res, 0, PUBLICATION_FILTERED)) {
        err_set(e, ERR_USAGE,
                "publication '%s' has a row filter or a column list for %s, which hides changes",
                p->publication, PQgetvalue(res, 0, PUBLICATION_FILTERED));
        return err_hint(e, "name another one in source.publication: it is created if it does not "
                           "exist");
    }
    if (!pg_bool(res, 0, PUBLICATION_WHOLE))
        return refuse_setting(p->publication, "does not publish all kinds of changes",
                              "publish = 'insert, update, delete, truncate'", e);
    if (!pg_bool(res, 0, PUBLICATION_VIA_ROOT))
        return refuse_setting(p->publication, "publishes partitions by their own names",
                              "publish_via_partition_root = true", e);
    return !p->stored || pg_bool(res, 0, PUBLICATION_STORED) ||
           refuse_setting(p->publication, "does not publish generated columns, which identify rows",
                          "publish_generated_columns = stored", e);
}

static bool publish(const struct publishing *p, struct source_published *out, struct err *e)
{
    PGresult *res;
    if (!read_publication(p, &res, e))
        return false;
    bool exists = PQntuples(res) == 1;
    out->made = !exists;
    out->grew = exists && !PQgetisnull(res, 0, PUBLICATION_LACKS);
    bool ok = exists ? check_publication(p, res, e) : make_publication(p, e);
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
    keylist_free(&p.tables);
    return ok;
}

bool source_capture_check_publication(const struct source *s, struct pg *pg,
                                      const char *publication, bool *exists, struct err *e)
{
    struct publishing p = {.pg = pg, .publication = publication};
    PGresult *res = NULL;
    bool ok = find_tables(s, &p, e) && read_publication(&p, &res, e);
    *exists = ok && PQntuples(res) == 1;
    ok = ok && (!*exists || check_publication(&p, res, e));
    PQclear(res);
    keylist_free(&p.tables);
    return ok;
}

bool source_capture_has_publication(struct pg *pg, const char *publication, bool *has,
                                    struct err *e)
{
    struct source_statement st;
    PGresult *res;
    source_statement_init(&st, 1, 1);
    buf_adds(&st.sql, "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = $1)");
    source_bind(&st, publication);
    if (!source_run(pg, &st, &res, e))
        return false;
    *has = pg_bool(res, 0, 0);
    PQclear(res);
    return true;
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
    return ok;
}

/* ---- what the log does not tell ---- */

/* $1: tables; $2: the publication. A partition that is emptied by itself gets another file, and no
 * event; other tables' files change for reasons that do not matter here. */
static const char signature_sql[] =
    "WITH RECURSIVE parts (oid) AS ("
    "  SELECT t::pg_catalog.regclass::pg_catalog.oid"
    "    FROM pg_catalog.unnest($1::pg_catalog.text[]) t"
    "  UNION SELECT i.inhrelid FROM parts JOIN pg_catalog.pg_inherits i ON i.inhparent ="
    "   parts.oid)"
    " SELECT pg_catalog.md5(pg_catalog.concat_ws('|',"
    "  (SELECT pg_catalog.string_agg(pg_catalog.concat_ws('/', c.oid, c.relreplident,"
    "    CASE WHEN c.relispartition THEN pg_catalog.pg_relation_filenode(c.oid) END), ','"
    "    ORDER BY c.oid) FROM parts JOIN pg_catalog.pg_class c ON c.oid = parts.oid),"
    "  (SELECT pg_catalog.concat_ws('/', p.oid, p.xmin::text) FROM pg_catalog.pg_publication p"
    "    WHERE p.pubname = $2),"
    "  (SELECT pg_catalog.string_agg(pg_catalog.concat_ws('/', r.prrelid, r.xmin::text), ','"
    "    ORDER BY r.prrelid) FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p"
    "    ON p.oid = r.prpubid JOIN parts ON parts.oid = r.prrelid WHERE p.pubname = $2)";

/* From PostgreSQL 15 on. */
static const char schemas_sql[] =
    ", (SELECT pg_catalog.string_agg(pg_catalog.concat_ws('/', n.pnnspid, n.xmin::text), ','"
    "    ORDER BY n.pnnspid) FROM pg_catalog.pg_publication_namespace n"
    "   JOIN pg_catalog.pg_publication p ON p.oid = n.pnpubid WHERE p.pubname = $2)";

char *source_capture_signature(const struct source *s, struct pg *pg, const char *publication,
                               struct err *e)
{
    struct keylist tables = {0};
    struct source_statement st;
    struct buf list;
    PGresult *res;
    bool ok = true;
    for (size_t i = 0; ok && i < s->n_tables; i++)
        ok = keylist_add(&tables, s->tables[i].name);
    source_statement_init(&st, 1, 1);
    buf_init(&list, SOURCE_SQL_MAX);
    pg_add_array(&list, (const char *const *)tables.keys, tables.n);
    keylist_free(&tables);
    buf_addf(&st.sql, "%s%s))", signature_sql, pg_server_version(pg) >= 150000 ? schemas_sql : "");
    source_bind_taken(&st, source_finish(&list, e));
    source_bind(&st, publication);
    if (!ok) {
        source_statement_free(&st);
        err_memory(e);
        return NULL;
    }
    if (!source_run(pg, &st, &res, e))
        return NULL;
    char *signature = strdup(PQgetvalue(res, 0, 0));
    PQclear(res);
    if (!signature)
        err_memory(e);
    return signature;
}
