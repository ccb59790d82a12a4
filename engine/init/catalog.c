#include "init/catalog.h"

#include "base/err.h"
#include "init/catalog_sql.h"
#include "pg/pg.h"

#include <stdlib.h>
#include <string.h>

/* What is being read, row by row. */
struct reading {
    struct catalog *c;
    const PGresult *res;
};

static const char *text(const struct reading *r, int row, int column)
{
    return PQgetisnull(r->res, row, column)
               ? NULL
               : arena_copy(&r->c->arena, PQgetvalue(r->res, row, column));
}

static bool ask(struct pg *pg, const char *sql, int rows, size_t columns, PGresult **res,
                struct err *e)
{
    *res = NULL;
    return (pg_query(pg, sql, 0, NULL, res, e) && pg_expect(pg, res, rows, columns, e)) ||
           err_wrap(e, "could not read the catalog");
}

/* ---- the server ---- */

static bool read_server(struct catalog *c, struct pg *pg, struct err *e)
{
    PGresult *res;
    if (!ask(pg, catalog_server_sql, 1, SERVER_COLUMNS, &res, e))
        return false;
    struct reading r = {c, res};
    c->wal_level = text(&r, 0, SERVER_WAL_LEVEL);
    c->role = text(&r, 0, SERVER_ROLE);
    c->database = text(&r, 0, SERVER_DATABASE);
    c->standby = pg_bool(res, 0, SERVER_STANDBY);
    c->has_slots = pg_bool(res, 0, SERVER_SLOTS);
    c->may_replicate = pg_bool(res, 0, SERVER_REPLICATES);
    c->may_publish = pg_bool(res, 0, SERVER_PUBLISHES);
    c->version = (int)pg_int(res, 0, SERVER_VERSION);
    PQclear(res);
    return true;
}

static bool read_keywords(struct catalog *c, struct pg *pg, struct err *e)
{
    PGresult *res;
    if (!ask(pg, catalog_keywords_sql, -1, 1, &res, e))
        return false;
    struct reading r = {c, res};
    int n = PQntuples(res);
    c->keywords = arena_new(&c->arena, (size_t)n, sizeof *c->keywords);
    for (int i = 0; c->keywords && i < n; i++)
        c->keywords[c->n_keywords++] = text(&r, i, 0);
    PQclear(res);
    return true;
}

/* ---- tables ---- */

static void read_table(const struct reading *r, int row, struct catalog_table *t)
{
    *t = (struct catalog_table){
        .oid = (uint32_t)pg_int(r->res, row, TABLE_OID),
        .schema = text(r, row, TABLE_SCHEMA),
        .name = text(r, row, TABLE_NAME),
        .comment = text(r, row, TABLE_COMMENT),
        .kind = *PQgetvalue(r->res, row, TABLE_KIND),
        .identity = *PQgetvalue(r->res, row, TABLE_IDENTITY),
        .rows = pg_int(r->res, row, TABLE_ROWS),
        .visible = pg_bool(r->res, row, TABLE_VISIBLE),
        .readable = pg_bool(r->res, row, TABLE_READABLE),
        .owned = pg_bool(r->res, row, TABLE_OWNED),
        .logged = pg_bool(r->res, row, TABLE_LOGGED),
        .has_virtual = pg_bool(r->res, row, TABLE_VIRTUAL),
    };
}

static bool read_tables(struct catalog *c, struct pg *pg, struct err *e)
{
    PGresult *res;
    if (!ask(pg, catalog_tables_sql, -1, TABLE_COLUMNS, &res, e))
        return false;
    struct reading r = {c, res};
    int n = PQntuples(res);
    c->tables = arena_new(&c->arena, (size_t)n, sizeof *c->tables);
    for (int i = 0; c->tables && i < n; i++)
        read_table(&r, i, &c->tables[c->n_tables++]);
    PQclear(res);
    return true;
}

/* By the oid in a row. NULL: it was made a moment ago. */
static struct catalog_table *find_table(const struct reading *r, int row, int column)
{
    uint32_t oid = (uint32_t)pg_int(r->res, row, column);
    for (size_t i = 0; i < r->c->n_tables; i++)
        if (r->c->tables[i].oid == oid)
            return &r->c->tables[i];
    return NULL;
}

/* Rows of one table follow each other: how many from this one on are of the same table. */
static int count_group(const PGresult *res, int row, int column)
{
    int end = row + 1;
    while (end < PQntuples(res) &&
           strcmp(PQgetvalue(res, end, column), PQgetvalue(res, row, column)) == 0)
        end++;
    return end - row;
}

/* ---- columns ---- */

static void read_column(const struct reading *r, int row, struct catalog_column *c)
{
    *c = (struct catalog_column){
        .name = text(r, row, COLUMN_NAME),
        .comment = text(r, row, COLUMN_COMMENT),
        .type = text(r, row, COLUMN_TYPE),
        .base = text(r, row, COLUMN_BASE),
        .schema = text(r, row, COLUMN_SCHEMA),
        .kind = *PQgetvalue(r->res, row, COLUMN_KIND),
        .modifier = (int)pg_int(r->res, row, COLUMN_MODIFIER),
        .array = pg_bool(r->res, row, COLUMN_ARRAY),
        .not_null = pg_bool(r->res, row, COLUMN_NOT_NULL),
        .readable = pg_bool(r->res, row, COLUMN_READABLE),
    };
}

/* By their numbers, in the order of their tables' oids; numbers keeps those of all columns, for the
 * indexes and references that name columns by them. */
struct numbers {
    int *list;     /* of one table after the other, as PostgreSQL counts: dropped ones leave gaps */
    size_t *first; /* of each table in `list` */
};

static bool fill_columns(const struct reading *r, struct numbers *numbers)
{
    struct catalog *c = r->c;
    int n = PQntuples(r->res);
    numbers->list = arena_new(&c->arena, (size_t)n, sizeof *numbers->list);
    numbers->first = arena_new(&c->arena, c->n_tables, sizeof *numbers->first);
    for (int row = 0, group; !c->arena.failed && row < n; row += group) {
        struct catalog_table *t = find_table(r, row, COLUMN_TABLE);
        group = count_group(r->res, row, COLUMN_TABLE);
        struct catalog_column *list = arena_new(&c->arena, (size_t)group, sizeof *list);
        if (!t || !list)
            continue;
        t->columns = list;
        numbers->first[t - c->tables] = (size_t)row;
        for (int i = 0; i < group; i++) {
            numbers->list[row + i] = (int)pg_int(r->res, row + i, COLUMN_NUMBER);
            read_column(r, row + i, &list[t->n_columns++]);
        }
    }
    return !c->arena.failed;
}

static bool read_columns(struct catalog *c, struct pg *pg, struct numbers *numbers, struct err *e)
{
    PGresult *res;
    if (!ask(pg, catalog_columns_sql, -1, COLUMN_COLUMNS, &res, e))
        return false;
    bool ok = fill_columns(&(struct reading){c, res}, numbers) || err_memory(e);
    PQclear(res);
    return ok;
}

/* ---- lists of columns ---- */

/* Reads "1 3". False: one of them is not a column of the table, as in an index on the row's oid. */
static bool read_list(const struct catalog *c, const struct numbers *numbers,
                      const struct catalog_table *t, const char *list, struct catalog_columns *out)
{
    const int *own = numbers->list + numbers->first[t - c->tables];
    char *end;
    out->n = 0;
    for (const char *at = list; *at; at = end) {
        long number = strtol(at, &end, 10);
        size_t i = 0;
        while (i < t->n_columns && own[i] != number)
            i++;
        if (end == at || i == t->n_columns || out->n == CATALOG_KEY_MAX)
            return false;
        out->at[out->n++] = i;
    }
    return out->n > 0;
}

static bool fill_indexes(const struct reading *r, const struct numbers *numbers)
{
    struct catalog *c = r->c;
    for (int row = 0, group; !c->arena.failed && row < PQntuples(r->res); row += group) {
        struct catalog_table *t = find_table(r, row, INDEX_TABLE);
        group = count_group(r->res, row, INDEX_TABLE);
        struct catalog_index *list = arena_new(&c->arena, (size_t)group, sizeof *list);
        if (!t || !list)
            continue;
        t->indexes = list;
        for (int i = row; i < row + group; i++) {
            struct catalog_index *index = &list[t->n_indexes];
            index->unique = pg_bool(r->res, i, INDEX_UNIQUE);
            index->primary = pg_bool(r->res, i, INDEX_PRIMARY);
            index->identity = pg_bool(r->res, i, INDEX_IDENTITY);
            index->deferrable = pg_bool(r->res, i, INDEX_DEFERRABLE);
            t->n_indexes +=
                read_list(c, numbers, t, PQgetvalue(r->res, i, INDEX_KEY), &index->columns);
        }
    }
    return !c->arena.failed;
}

static bool read_indexes(struct catalog *c, struct pg *pg, const struct numbers *numbers,
                         struct err *e)
{
    PGresult *res;
    if (!ask(pg, catalog_indexes_sql, -1, INDEX_COLUMNS, &res, e))
        return false;
    bool ok = fill_indexes(&(struct reading){c, res}, numbers) || err_memory(e);
    PQclear(res);
    return ok;
}

static bool fill_references(const struct reading *r, const struct numbers *numbers)
{
    struct catalog *c = r->c;
    int n = PQntuples(r->res);
    c->references = arena_new(&c->arena, (size_t)n, sizeof *c->references);
    for (int i = 0; c->references && i < n; i++) {
        struct catalog_reference *k = &c->references[c->n_references];
        k->from = find_table(r, i, REFERENCE_FROM);
        k->to = find_table(r, i, REFERENCE_TO);
        k->name = text(r, i, REFERENCE_NAME);
        k->cascades = pg_bool(r->res, i, REFERENCE_CASCADES);
        bool known =
            k->from && k->to &&
            read_list(c, numbers, k->from, PQgetvalue(r->res, i, REFERENCE_COLUMNS_OF),
                      &k->columns) &&
            read_list(c, numbers, k->to, PQgetvalue(r->res, i, REFERENCE_TARGETS), &k->targets);
        c->n_references += known && k->columns.n == k->targets.n;
    }
    return !c->arena.failed;
}

static bool read_references(struct catalog *c, struct pg *pg, const struct numbers *numbers,
                            struct err *e)
{
    PGresult *res;
    if (!ask(pg, catalog_references_sql, -1, REFERENCE_COLUMNS, &res, e))
        return false;
    bool ok = fill_references(&(struct reading){c, res}, numbers) || err_memory(e);
    PQclear(res);
    return ok;
}

bool catalog_read(struct catalog *c, struct pg *pg, struct err *e)
{
    struct numbers numbers;
    *c = (struct catalog){0};
    bool ok = read_server(c, pg, e) && read_keywords(c, pg, e) && read_tables(c, pg, e) &&
              read_columns(c, pg, &numbers, e) && read_indexes(c, pg, &numbers, e) &&
              read_references(c, pg, &numbers, e) && (!c->arena.failed || err_memory(e));
    if (!ok)
        catalog_free(c);
    return ok;
}

void catalog_free(struct catalog *c)
{
    arena_free(&c->arena);
    *c = (struct catalog){0};
}

/* ---- questions ---- */

bool catalog_has_column(const struct catalog_columns *c, size_t column)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->at[i] == column)
            return true;
    return false;
}

static bool includes(const struct catalog_columns *all, const struct catalog_columns *some)
{
    for (size_t i = 0; i < some->n; i++)
        if (!catalog_has_column(all, some->at[i]))
            return false;
    return true;
}

bool catalog_same_columns(const struct catalog_columns *a, const struct catalog_columns *b)
{
    return includes(a, b) && includes(b, a);
}

static bool are_not_null(const struct catalog_table *t, const struct catalog_columns *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (!t->columns[c->at[i]].not_null)
            return false;
    return true;
}

const struct catalog_index *catalog_identity(const struct catalog_table *t)
{
    const struct catalog_index *best = NULL;
    for (size_t i = 0; i < t->n_indexes; i++) {
        const struct catalog_index *x = &t->indexes[i];
        if (x->primary)
            return x;
        if (x->unique && are_not_null(t, &x->columns) && (!best || x->columns.n < best->columns.n))
            best = x;
    }
    return best;
}

bool catalog_has_index(const struct catalog_table *t, const struct catalog_columns *c)
{
    for (size_t i = 0; i < t->n_indexes; i++) {
        struct catalog_columns first = t->indexes[i].columns;
        if (first.n < c->n)
            continue;
        first.n = c->n;
        if (catalog_same_columns(&first, c))
            return true;
    }
    return false;
}

bool catalog_is_unique(const struct catalog_table *t, const struct catalog_columns *c)
{
    for (size_t i = 0; i < t->n_indexes; i++)
        if (t->indexes[i].unique && includes(c, &t->indexes[i].columns))
            return true;
    return false;
}

bool catalog_keeps_old(const struct catalog_table *t, const struct catalog_columns *c)
{
    if (t->identity == 'f')
        return !t->has_virtual;
    for (size_t i = 0; i < t->n_indexes; i++) {
        const struct catalog_index *x = &t->indexes[i];
        bool kept = t->identity == 'd' ? x->primary : t->identity == 'i' && x->identity;
        if (kept && !x->deferrable && includes(&x->columns, c))
            return true;
    }
    return false;
}
