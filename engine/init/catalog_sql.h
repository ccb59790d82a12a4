/* catalog_sql: the statements that read the catalog.
 *
 * Uses     nothing.
 *
 * They work from PostgreSQL 10 on, and need no privilege. `mine` are the user's own relations: not
 * the system's, no partition, nothing of an extension, nothing temporary.
 */
#pragma once

#define CATALOG_MINE                                                                               \
    "mine AS (SELECT c.oid, c.relname, c.relnamespace, c.relkind, c.relpersistence, c.relowner,"   \
    "   c.relreplident, c.reltuples, c.relpages FROM pg_catalog.pg_class c"                        \
    "  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"                                   \
    "  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition"                      \
    "   AND c.relpersistence <> 't' AND n.nspname <> 'information_schema'"                         \
    "   AND n.nspname NOT LIKE 'pg\\_%'"                                                           \
    "   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid"                  \
    "    AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e'))"

static const char catalog_server_sql[] =
    "SELECT pg_catalog.current_setting('wal_level'), current_user, pg_catalog.current_database(),"
    " pg_catalog.pg_is_in_recovery(),"
    " pg_catalog.current_setting('max_replication_slots')::int > 0,"
    " r.rolsuper OR r.rolreplication OR coalesce((SELECT"
    "  pg_catalog.bool_or(pg_catalog.pg_has_role(m.oid, 'MEMBER')) FROM pg_catalog.pg_roles m"
    "  WHERE m.rolname IN ('rds_replication')), false),"
    " pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),"
    " pg_catalog.current_setting('server_version_num')"
    " FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";

enum catalog_server_column {
    SERVER_WAL_LEVEL,
    SERVER_ROLE,
    SERVER_DATABASE,
    SERVER_STANDBY,
    SERVER_SLOTS,
    SERVER_REPLICATES,
    SERVER_PUBLISHES,
    SERVER_VERSION,
    SERVER_COLUMNS
};

static const char catalog_keywords_sql[] =
    "SELECT word FROM pg_catalog.pg_get_keywords() WHERE catcode <> 'U'";

/* A partitioned table's rows are those of its partitions, and come under its name from PostgreSQL
 * 13 on. */
static const char catalog_tables_sql[] =
    "WITH RECURSIVE " CATALOG_MINE ", parts (root, oid) AS ("
    "  SELECT oid, oid FROM mine WHERE relkind = 'p'"
    "  UNION ALL SELECT p.root, i.inhrelid FROM parts p"
    "   JOIN pg_catalog.pg_inherits i ON i.inhparent = p.oid)"
    " SELECT m.oid, n.nspname, m.relname, pg_catalog.obj_description(m.oid, 'pg_class'),"
    "  m.relkind, m.relreplident,"
    "  CASE m.relkind WHEN 'v' THEN -1 WHEN 'p' THEN"
    "    (SELECT coalesce(pg_catalog.sum(c.reltuples) FILTER (WHERE c.reltuples >= 0), -1)"
    "      FROM parts JOIN pg_catalog.pg_class c ON c.oid = parts.oid"
    "      WHERE parts.root = m.oid AND c.relkind <> 'p')"
    "   ELSE CASE WHEN m.reltuples = 0 AND m.relpages = 0 THEN -1 ELSE m.reltuples END END::bigint,"
    "  pg_catalog.pg_table_is_visible(m.oid),"
    "  pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
    "   AND (pg_catalog.has_table_privilege(m.oid, 'SELECT')"
    "    OR pg_catalog.has_any_column_privilege(m.oid, 'SELECT')),"
    "  pg_catalog.pg_has_role(m.relowner, 'USAGE'),"
    "  (m.relkind = 'r' OR m.relkind = 'p'"
    "    AND pg_catalog.current_setting('server_version_num')::int >= 130000)"
    "   AND m.relpersistence = 'p',"
    "  EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = m.oid AND a.atthasdef"
    "   AND NOT a.attisdropped AND pg_catalog.to_jsonb(a) ->> 'attgenerated' = 'v')"
    " FROM mine m JOIN pg_catalog.pg_namespace n ON n.oid = m.relnamespace"
    " ORDER BY n.nspname, m.relname";

enum catalog_table_column {
    TABLE_OID,
    TABLE_SCHEMA,
    TABLE_NAME,
    TABLE_COMMENT,
    TABLE_KIND,
    TABLE_IDENTITY,
    TABLE_ROWS,
    TABLE_VISIBLE,
    TABLE_READABLE,
    TABLE_OWNED,
    TABLE_LOGGED,
    TABLE_VIRTUAL,
    TABLE_COLUMNS
};

/* base: each type, with the type that a domain rests on in the end. */
static const char catalog_columns_sql[] =
    "WITH RECURSIVE " CATALOG_MINE ", base (oid, type, modifier) AS ("
    "  SELECT oid, oid, -1 FROM pg_catalog.pg_type"
    "  UNION ALL SELECT b.oid, t.typbasetype, greatest(t.typtypmod, b.modifier) FROM base b"
    "   JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype = 'd'),"
    " plain AS (SELECT b.oid, b.type, b.modifier, t.typelem, t.typcategory, t.typlen"
    "  FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype <> 'd')"
    " SELECT a.attrelid, a.attnum, a.attname,"
    "  pg_catalog.col_description(a.attrelid, a.attnum),"
    "  pg_catalog.format_type(t.oid, m.modifier), t.typname, n.nspname, t.typtype, m.modifier,"
    "  outside.typcategory = 'A' AND outside.typlen = -1, a.attnotnull,"
    "  pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')"
    " FROM mine JOIN pg_catalog.pg_attribute a ON a.attrelid = mine.oid"
    "  JOIN plain outside ON outside.oid = a.atttypid"
    "  LEFT JOIN plain inside ON inside.oid = outside.typelem"
    "   AND outside.typcategory = 'A' AND outside.typlen = -1"
    "  JOIN pg_catalog.pg_type t ON t.oid = coalesce(inside.type, outside.type)"
    "  JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace"
    "  CROSS JOIN LATERAL (SELECT"
    "   greatest(a.atttypmod, outside.modifier, inside.modifier) AS modifier) m"
    " WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum";

enum catalog_column_column {
    COLUMN_TABLE,
    COLUMN_NUMBER,
    COLUMN_NAME,
    COLUMN_COMMENT,
    COLUMN_TYPE,
    COLUMN_BASE,
    COLUMN_SCHEMA,
    COLUMN_KIND,
    COLUMN_MODIFIER,
    COLUMN_ARRAY,
    COLUMN_NOT_NULL,
    COLUMN_READABLE,
    COLUMN_COLUMNS
};

/* Columns by their numbers: "1 3". From PostgreSQL 11 on, an index may include columns that it is
 * not ordered by: they come last. */
static const char catalog_indexes_sql[] =
    "WITH " CATALOG_MINE " SELECT i.indrelid,"
    "  (SELECT pg_catalog.string_agg(i.indkey[k]::text, ' ' ORDER BY k)"
    "    FROM pg_catalog.generate_series(0,"
    "     coalesce((pg_catalog.to_jsonb(i) ->> 'indnkeyatts')::int, i.indnatts) - 1) k),"
    "  i.indisunique, i.indisprimary, i.indisreplident, NOT i.indimmediate"
    " FROM mine JOIN pg_catalog.pg_index i ON i.indrelid = mine.oid"
    " WHERE i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL"
    " ORDER BY i.indrelid, i.indisprimary DESC, i.indisunique DESC, i.indexrelid";

enum catalog_index_column {
    INDEX_TABLE,
    INDEX_KEY,
    INDEX_UNIQUE,
    INDEX_PRIMARY,
    INDEX_IDENTITY,
    INDEX_DEFERRABLE,
    INDEX_COLUMNS
};

/* Without those that compare periods, from PostgreSQL 18 on: their rows are not joined by =. */
static const char catalog_references_sql[] =
    "WITH " CATALOG_MINE " SELECT k.conrelid, k.confrelid, k.conname,"
    "  pg_catalog.array_to_string(k.conkey, ' '), pg_catalog.array_to_string(k.confkey, ' '),"
    "  k.confdeltype = 'c'"
    " FROM pg_catalog.pg_constraint k JOIN mine f ON f.oid = k.conrelid"
    "  JOIN mine t ON t.oid = k.confrelid"
    "  JOIN pg_catalog.pg_namespace n ON n.oid = f.relnamespace"
    " WHERE k.contype = 'f'"
    "  AND coalesce(pg_catalog.to_jsonb(k) ->> 'conperiod', 'false') = 'false' ORDER BY n.nspname, "
    "f.relname, k.conkey, k.conname";

enum catalog_reference_column {
    REFERENCE_FROM,
    REFERENCE_TO,
    REFERENCE_NAME,
    REFERENCE_COLUMNS_OF,
    REFERENCE_TARGETS,
    REFERENCE_CASCADES,
    REFERENCE_COLUMNS
};
