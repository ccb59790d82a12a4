#include "source.h"

#include "err.h"
#include "keytext.h"
#include "pipeline.h"
#include "queue.h"
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SQL = 64 << 20 }; /* bytes: a statement, or one parameter of it */

/* ---- the script's mistakes ---- */

/* The server's "no" to a script's text is the script's mistake; a lost connection is not. t: NULL: the query.
 */
static bool blame_script(struct err *e, const struct pipeline *p, int line, const struct source_table *t,
                         const char *field)
{
    if (e->kind != ERR_FINAL)
        return false;
    struct err cause = *e;
    if (t && t->related)
        err_set(e, ERR_USAGE, "cannot use source.related[%d].%s: %s",
                (int)(t->related - p->source.related) + 1, field, cause.text);
    else
        err_set(e, ERR_USAGE, "cannot use source.%s: %s", field, cause.text);
    err_hint(e, "%s", cause.hint);
    return line > 0 ? err_wrap(e, "%s:%d", p->script, line) : err_wrap(e, "%s", p->script);
}

/* ---- building SQL ---- */

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

/* "q.a, q.b": the key's columns, each behind a prefix. */
static void add_columns(struct buf *b, const struct source_key *k, const char *prefix)
{
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s%s%s", i ? ", " : "", prefix, k->names[i]);
}

/* "$3::uuid, $4::text" */
static void add_parameters(struct buf *b, const struct source_key *k, int first)
{
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s$%d::%s", i ? ", " : "", first + (int)i, k->types[i]);
}

/* "(a, b) > ($1::uuid, $2::text)" */
static void add_comparison(struct buf *b, const struct source_key *k, const char *prefix,
                           const char *operator, int first)
{
    buf_adds(b, "(");
    add_columns(b, k, prefix);
    buf_addf(b, ") %s (", operator);
    add_parameters(b, k, first);
    buf_adds(b, ")");
}

/* "unnest($1::text[], $2::text[]) u(k0, k1)": the keys' parts as texts. */
static void add_texts(struct buf *b, const struct source_key *k, int first)
{
    buf_adds(b, "unnest(");
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s$%d::text[]", i ? ", " : "", first + (int)i);
    buf_adds(b, ") u(");
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%sk%zu", i ? ", " : "", i);
    buf_adds(b, ")");
}

/* A condition for some keys. Of a composite one, each column is first compared by itself: that is what
 * PostgreSQL can push down into the query and look up in an index; the pairs then choose among the few rows
 * that pass. */
static void add_choice(struct buf *b, const struct source_key *k, const char *prefix, int first)
{
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s%s%s = ANY($%d::%s[])", i ? " AND " : "", prefix, k->names[i], first + (int)i,
                 k->types[i]);
    if (k->n == 1)
        return;
    buf_adds(b, " AND (");
    add_columns(b, k, prefix);
    buf_adds(b, ") IN (SELECT * FROM unnest(");
    for (size_t i = 0; i < k->n; i++)
        buf_addf(b, "%s$%d::%s[]", i ? ", " : "", first + (int)i, k->types[i]);
    buf_adds(b, "))");
}

/* ---- keys as parameters ---- */

struct key_parameters { /* of one key, or arrays of many */
    struct buf text[SOURCE_KEY_MAX];
    const char *list[SOURCE_KEY_MAX];
};

static void free_parameters(struct key_parameters *p, const struct source_key *k)
{
    for (size_t i = 0; i < k->n; i++)
        buf_free(&p->text[i]);
}

static bool alien_key(const char *key, struct err *e)
{
    return err_set(e, ERR_FINAL, "'%.200s' is not a key of this table: it has another number of parts", key);
}

static bool split_key(const struct source_key *k, const char *key, struct buf *block, const char **parts,
                      struct err *e)
{
    if (keytext_split(key, k->n, block, parts))
        return true;
    return block->failed ? err_memory(e) : alien_key(key, e);
}

/* The parts of one key. p: to be freed in any case. */
static bool one_key(struct key_parameters *p, const struct source_key *k, const char *key, struct err *e)
{
    const char *parts[SOURCE_KEY_MAX];
    struct buf block;
    *p = (struct key_parameters){0};
    buf_init(&block, MAX_SQL);
    bool ok = split_key(k, key, &block, parts, e);
    for (size_t i = 0; ok && i < k->n; i++) {
        buf_init(&p->text[i], MAX_SQL);
        buf_adds(&p->text[i], parts[i]);
        p->list[i] = buf_cstr(&p->text[i]);
        ok = p->list[i] || err_memory(e);
    }
    buf_free(&block);
    return ok;
}

static bool add_parts(struct key_parameters *p, const struct source_key *k, const char *const *keys, size_t n,
                      size_t column, struct err *e)
{
    const char **texts = malloc((n ? n : 1) * sizeof *texts), *parts[SOURCE_KEY_MAX];
    struct buf *blocks = calloc(n ? n : 1, sizeof *blocks);
    bool ok = (texts && blocks) || err_memory(e);
    for (size_t i = 0; ok && i < n; i++) {
        buf_init(&blocks[i], MAX_SQL);
        ok = split_key(k, keys[i], &blocks[i], parts, e);
        texts[i] = parts[column];
    }
    if (ok)
        pg_add_array(&p->text[column], texts, n);
    for (size_t i = 0; blocks && i < n; i++)
        buf_free(&blocks[i]);
    free(blocks);
    free(texts);
    return ok;
}

/* An array for each column. */
static bool many_keys(struct key_parameters *p, const struct source_key *k, const char *const *keys, size_t n,
                      struct err *e)
{
    bool ok = true;
    *p = (struct key_parameters){0};
    for (size_t i = 0; ok && i < k->n; i++) {
        buf_init(&p->text[i], MAX_SQL);
        if (k->n == 1)
            pg_add_array(&p->text[i], keys, n); /* the usual case: a key is its own text */
        else
            ok = add_parts(p, k, keys, n, i, e);
        p->list[i] = buf_cstr(&p->text[i]);
        ok = ok && (p->list[i] || err_memory(e));
    }
    return ok;
}

/* ---- keys from results ---- */

/* The columns at first, first + 1, ... of a row, or those that `columns` names, as a key. */
static const char *join_key(const PGresult *res, int row, const int *columns, int first, size_t n,
                            struct buf *text)
{
    const char *parts[SOURCE_KEY_MAX];
    buf_clear(text);
    for (size_t i = 0; i < n; i++) {
        int column = columns ? columns[i] : first + (int)i;
        if (PQgetisnull(res, row, column))
            return NULL;
        parts[i] = PQgetvalue(res, row, column);
    }
    return keytext_join(text, parts, n) ? buf_cstr(text) : NULL;
}

const char *source_key(const struct source *s, const PGresult *row, struct buf *text)
{
    return join_key(row, 0, s->key, 0, s->tables[0].key.n, text);
}

void source_list_free(struct source_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->keys[i]);
    free(l->keys);
    *l = (struct source_list){0};
}

bool source_list_add(struct source_list *l, const char *key)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        char **keys = realloc(l->keys, cap * sizeof *keys);
        if (!keys)
            return false;
        l->keys = keys;
        l->cap = cap;
    }
    l->keys[l->n] = strdup(key);
    return l->keys[l->n] && ++l->n;
}

/* All rows of a result whose columns are a key. A key with a NULL in it is none. */
static bool take_list(const PGresult *res, size_t n, struct source_list *out, struct err *e)
{
    struct buf text;
    buf_init(&text, MAX_SQL);
    bool ok = true;
    for (int i = 0; ok && i < PQntuples(res); i++) {
        const char *key = join_key(res, i, NULL, 0, n, &text);
        ok = key ? source_list_add(out, key) : !text.failed;
    }
    buf_free(&text);
    return ok || err_memory(e);
}

/* ---- opening ---- */

static bool find_table(struct source_table *t, const struct pipeline *p, int line, struct pg *pg,
                       struct err *e)
{
    PGresult *res;
    bool ok = pg_query(
        pg,
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind IN ('r', 'p', 'v', 'm', 'f'),"
        " c.relkind IN ('r', 'p', 'm') AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i"
        "   JOIN pg_catalog.pg_class part ON part.oid = i.inhrelid"
        "   WHERE i.inhparent = c.oid AND part.relkind NOT IN ('r', 'm'))"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid = $1::pg_catalog.regclass",
        1, &t->label, &res, e);
    if (!ok)
        return blame_script(e, p, line, t, "table");
    if (PQntuples(res) != 1 || PQgetvalue(res, 0, 1)[0] != 't') {
        err_set(e, ERR_FINAL, "'%s' is not a table or view", t->label);
        ok = blame_script(e, p, line, t, "table");
    } else {
        t->name = strdup(PQgetvalue(res, 0, 0));
        t->has_xmin = PQgetvalue(res, 0, 2)[0] == 't';
        ok = t->name || err_memory(e);
    }
    PQclear(res);
    return ok;
}

/* Columns of a table: their types, by asking for them. */
static bool find_columns(const struct source_table *t, struct pg *pg, char *const *names, size_t n,
                         struct pg_columns *out, struct err *e)
{
    struct buf sql;
    buf_init(&sql, MAX_SQL);
    buf_adds(&sql, "SELECT ");
    for (size_t i = 0; i < n; i++) {
        buf_adds(&sql, i ? ", " : "");
        pg_add_identifier(&sql, names[i]);
    }
    buf_addf(&sql, " FROM %s", t->name);
    const char *text = buf_cstr(&sql);
    bool ok = text ? pg_describe(pg, text, out, e) : err_memory(e);
    buf_free(&sql);
    return ok;
}

static bool find_key(struct source_table *t, const struct pipeline *p, const struct pipeline_names *names,
                     int line, struct pg *pg, struct err *e)
{
    struct pg_columns c = {0};
    if (!find_columns(t, pg, names->list, names->n, &c, e))
        return blame_script(e, p, line, t, "key");
    bool ok = true;
    for (size_t i = 0; ok && i < names->n; i++) {
        t->key.n = i + 1;
        t->key.oids[i] = c.list[i].oid;
        t->key.types[i] = strdup(c.list[i].type);
        t->key.names[i] = quoted(names->list[i], e);
        ok = (t->key.types[i] && t->key.names[i]) || err_memory(e);
        if (ok && c.list[i].array) {
            err_set(e, ERR_FINAL, "column '%s' is an array (%s), and cannot be a key", names->list[i],
                    c.list[i].type);
            ok = blame_script(e, p, line, t, "key");
        }
    }
    pg_columns_free(&c);
    return ok;
}

/* The cursor's type with its precision: a timestamp(0) is rounded, and so has to be what it is compared with.
 */
static bool find_cursor_type(struct source_table *t, const char *name, struct pg *pg, struct err *e)
{
    const char *params[] = {t->name, name};
    PGresult *res;
    if (!pg_query(pg,
                  "SELECT pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute"
                  " WHERE attrelid = $1::pg_catalog.regclass AND attname = $2",
                  2, params, &res, e))
        return false;
    bool found = PQntuples(res) == 1;
    t->cursor_type = found ? strdup(PQgetvalue(res, 0, 0)) : NULL;
    PQclear(res);
    if (!found)
        return err_set(e, ERR_PASSING, "column '%s' is gone again", name);
    return t->cursor_type || err_memory(e);
}

static bool find_cursor(struct source_table *t, const struct pipeline *p, char *name, int line, struct pg *pg,
                        struct err *e)
{
    if (!name)
        return true;
    struct pg_columns c = {0};
    if (!find_columns(t, pg, &name, 1, &c, e))
        return blame_script(e, p, line, t, "cursor");
    enum pg_kind kind = c.list[0].kind;
    bool array = c.list[0].array;
    pg_columns_free(&c);
    t->cursor = quoted(name, e);
    if (!t->cursor || !find_cursor_type(t, name, pg, e))
        return false;
    t->cursor_is_instant = kind == PG_TIMESTAMPTZ;
    t->cursor_is_time = kind == PG_TIMESTAMPTZ || kind == PG_TIMESTAMP || kind == PG_DATE;
    bool rounded = strchr(t->cursor_type, '(') && !strstr(t->cursor_type, "(6)");
    t->cursor_is_rounded = kind == PG_DATE || (t->cursor_is_time && rounded);
    if (!array && (t->cursor_is_time || kind == PG_INT || kind == PG_NUMERIC))
        return true;
    err_set(e, ERR_FINAL,
            "column '%s' has type %s, and has to be a time or a number that grows with each change", name,
            t->cursor_type);
    return blame_script(e, p, line, t, "cursor");
}

static bool blame_query(const struct source *s, struct err *e)
{
    return blame_script(e, s->pipeline, s->pipeline->source.query_line, NULL, "query");
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

static bool check_query(struct source *s, struct pg *pg, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    const struct source_key *key = &s->tables[0].key;
    if (!pg_describe(pg, p->source.query, &s->columns, e))
        return blame_query(s, e);
    if (s->columns.parameters > 0) {
        err_set(e, ERR_FINAL, "it has a placeholder, $%d, and nothing to put there", s->columns.parameters);
        return blame_query(s, e);
    }
    for (size_t i = 0; i < key->n; i++) {
        const char *name = p->source.key.list[i];
        s->key[i] = pg_column(&s->columns, name);
        if (s->key[i] < 0) {
            err_set(e, ERR_FINAL, "it does not return the key column '%s'", name);
            return blame_query(s, e);
        }
        if (s->columns.list[s->key[i]].oid != key->oids[i]) {
            err_set(e, ERR_FINAL,
                    "its column '%s' has type %s, but in table '%s' that is %s; return it as it is", name,
                    s->columns.list[s->key[i]].type, p->source.table, key->types[i]);
            return blame_query(s, e);
        }
    }
    for (size_t i = 0; i < s->columns.n; i++)
        if (pg_column(&s->columns, s->columns.list[i].name) != (int)i) {
            err_set(e, ERR_FINAL, "it returns column '%s' twice", s->columns.list[i].name);
            return blame_query(s, e);
        }
    s->select = wrap_query(p->source.query, e);
    return s->select && check_wrapped(s, pg, e);
}

/* ---- which documents a related row affects ---- */

static bool find_arrays(struct source_table *t, struct pg *pg, struct err *e)
{
    for (size_t i = 0; i < t->key.n; i++) {
        PGresult *res;
        const char *type = t->key.types[i];
        if (!pg_query(pg, "SELECT ($1 || '[]')::pg_catalog.regtype::pg_catalog.oid", 1, &type, &res, e))
            return false;
        t->arrays[i] = (Oid)strtoul(PQgetvalue(res, 0, 0), NULL, 10);
        PQclear(res);
    }
    return true;
}

/* The server guesses the parameters' types from where they stand (`id::text = ANY($1)`); where it cannot, as
 * in unnest($1), it is told that they are arrays of the key's. */
static bool describe_affected(struct source_table *t, struct pg *pg, struct pg_columns *c, struct err *e)
{
    if (!pg_describe(pg, t->affected, c, e) &&
        (e->kind != ERR_FINAL || !find_arrays(t, pg, e) ||
         !pg_describe_typed(pg, t->affected, (int)t->key.n, t->arrays, c, e)))
        return false;
    size_t used = (size_t)c->parameters;
    if (used == t->key.n)
        return true;
    pg_columns_free(c);
    if (used > t->key.n)
        return err_set(e, ERR_FINAL, "it has $%zu, but the key of this table has %zu column%s", used,
                       t->key.n, t->key.n == 1 ? "" : "s");
    return err_set(e, ERR_FINAL,
                   "it lacks $%zu: the keys that changed are $1%s, an array for each column of the key",
                   used + 1, t->key.n == 1 ? "" : " and so on");
}

/* What a related table's `affects` gives has to be keys of the root: the same types, in the same order. */
static bool check_affected(const struct source *s, struct source_table *t, struct pg *pg, struct err *e)
{
    const struct source_key *root = &s->tables[0].key;
    const struct pipeline *p = s->pipeline;
    struct pg_columns c = {0};
    if (!describe_affected(t, pg, &c, e))
        return blame_script(e, p, t->related->affects_line, t, "affects");
    bool ok = c.n == root->n;
    if (!ok)
        err_set(e, ERR_FINAL, "it gives %zu columns, but the root's key has %zu", c.n, root->n);
    for (size_t i = 0; ok && i < c.n; i++)
        if (c.list[i].oid != root->oids[i])
            ok = err_set(e, ERR_FINAL, "column '%s' has type %s, but the root's key is %s", c.list[i].name,
                         c.list[i].type, root->types[i]);
    pg_columns_free(&c);
    return ok || blame_script(e, p, t->related->affects_line, t, "affects");
}

static bool make_affected(const struct source *s, struct source_table *t, struct pg *pg, struct err *e)
{
    struct buf b;
    buf_init(&b, MAX_SQL);
    const struct pipeline_related *r = t->related;
    if (r->affects_query) {
        buf_adds(&b, r->affects_query);
    } else {
        buf_adds(&b, "SELECT ");
        for (size_t i = 0; i < r->affects.n; i++) {
            buf_adds(&b, i ? ", " : "");
            pg_add_identifier(&b, r->affects.list[i]);
        }
        buf_addf(&b, " FROM %s WHERE ", t->name);
        add_choice(&b, &t->key, "", 1);
    }
    t->affected = finish(&b, e);
    return t->affected && check_affected(s, t, pg, e);
}

static bool open_related(struct source *s, struct source_table *t, const struct pipeline_related *r,
                         struct pg *pg, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    t->related = r;
    t->label = r->table;
    return find_table(t, p, r->table_line, pg, e) && find_key(t, p, &r->key, r->key_line, pg, e) &&
           find_cursor(t, p, r->cursor, r->cursor_line, pg, e) && make_affected(s, t, pg, e);
}

static bool open_root(struct source *s, struct pg *pg, struct err *e)
{
    const struct pipeline *p = s->pipeline;
    struct source_table *t = &s->tables[0];
    t->label = p->source.table;
    return find_table(t, p, p->source.table_line, pg, e) &&
           find_key(t, p, &p->source.key, p->source.key_line, pg, e) &&
           find_cursor(t, p, p->source.cursor, p->source.cursor_line, pg, e) && check_query(s, pg, e);
}

/* A table may stand in the script more than once: with two foreign keys to it, or as the root that refers to
 * itself. Each entry has a place of its own. */
static bool name_mark(struct source *s, size_t table, struct err *e)
{
    struct source_table *t = &s->tables[table];
    size_t same = 1;
    for (size_t i = 0; i < table; i++)
        same += strcmp(s->tables[i].name, t->name) == 0;
    struct buf b;
    buf_init(&b, MAX_SQL);
    buf_adds(&b, t->name);
    if (same > 1)
        buf_addf(&b, "#%zu", same);
    t->mark_name = finish(&b, e);
    return t->mark_name != NULL;
}

bool source_open(struct source *s, const struct pipeline *p, struct pg *pg, struct err *e)
{
    *s = (struct source){.pipeline = p};
    s->tables = calloc(1 + p->source.n_related, sizeof *s->tables);
    s->n_tables = s->tables ? 1 + p->source.n_related : 0;
    bool ok = s->tables ? open_root(s, pg, e) : err_memory(e);
    for (size_t i = 0; ok && i < p->source.n_related; i++)
        ok = open_related(s, &s->tables[i + 1], &p->source.related[i], pg, e);
    for (size_t i = 0; ok && i < s->n_tables; i++)
        ok = name_mark(s, i, e);
    if (!ok)
        source_free(s);
    return ok;
}

static void free_table(struct source_table *t)
{
    for (size_t i = 0; i < t->key.n; i++) {
        free(t->key.names[i]);
        free(t->key.types[i]);
    }
    free(t->name);
    free(t->mark_name);
    free(t->cursor);
    free(t->cursor_type);
    free(t->affected);
}

void source_free(struct source *s)
{
    pg_columns_free(&s->columns);
    for (size_t i = 0; i < s->n_tables; i++)
        free_table(&s->tables[i]);
    free(s->tables);
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
                        bool ordered, int64_t *clock_us, struct err *e)
{
    const struct source_key *k = &s->tables[0].key;
    struct key_parameters from = {0}, to = {0};
    const char *params[2 * SOURCE_KEY_MAX];
    int n = 0;
    bool ok = (!b->from || one_key(&from, k, b->from, e)) && (!b->to || one_key(&to, k, b->to, e));
    if (ok && b->from) {
        add_comparison(sql, k, "q.", ">", 1);
        memcpy(params, from.list, k->n * sizeof *params);
        n += (int)k->n;
    }
    if (ok && b->to) {
        buf_adds(sql, n ? " AND " : "");
        add_comparison(sql, k, "q.", "<=", n + 1);
        memcpy(params + n, to.list, k->n * sizeof *params);
        n += (int)k->n;
    }
    buf_adds(sql, n ? "" : "true");
    if (ordered) {
        buf_adds(sql, " ORDER BY ");
        add_columns(sql, k, "q.");
    }
    ok = ok && stream(pg, sql, n, params, clock_us, e);
    free_parameters(&from, k);
    free_parameters(&to, k);
    return ok;
}

static bool fetch_keys(const struct source *s, struct pg *pg, const struct batch *b, struct buf *sql,
                       bool ordered, int64_t *clock_us, struct err *e)
{
    const struct source_key *k = &s->tables[0].key;
    struct key_parameters p;
    add_choice(sql, k, "q.", 1);
    if (ordered) {
        buf_adds(sql, " ORDER BY ");
        add_columns(sql, k, "q.");
    }
    bool ok = many_keys(&p, k, (const char *const *)b->keys, b->no_rows ? 0 : b->n, e) &&
              stream(pg, sql, (int)k->n, p.list, clock_us, e);
    free_parameters(&p, k);
    return ok;
}

bool source_fetch(const struct source *s, struct pg *pg, const struct batch *b, bool ordered,
                  int64_t *clock_us, struct err *e)
{
    struct buf sql;
    buf_init(&sql, MAX_SQL);
    buf_adds(&sql, s->select);
    bool ok = (b->is_range ? fetch_range : fetch_keys)(s, pg, b, &sql, ordered, clock_us, e);
    buf_free(&sql);
    return ok || err_wrap(e, "could not read '%s'", s->pipeline->source.table);
}

/* ---- walking the root table ---- */

/* Runs sql, which is freed. */
static bool query(struct pg *pg, const char *label, struct buf *sql, int n, const char *const *params,
                  PGresult **out, struct err *e)
{
    const char *text = buf_cstr(sql);
    bool ok = text ? pg_query(pg, text, n, params, out, e) : err_memory(e);
    buf_free(sql);
    return ok || err_wrap(e, "could not read '%s'", label);
}

bool source_estimate(const struct source *s, struct pg *pg, int64_t *rows, struct err *e)
{
    struct buf sql;
    buf_init(&sql, MAX_SQL);
    buf_adds(
        &sql,
        "SELECT greatest(reltuples, 0)::bigint FROM pg_catalog.pg_class WHERE oid = $1::pg_catalog.regclass");
    const char *param = s->tables[0].name;
    PGresult *res;
    if (!query(pg, s->tables[0].label, &sql, 1, &param, &res, e))
        return false;
    *rows = PQntuples(res) ? strtoll(PQgetvalue(res, 0, 0), NULL, 10) : 0;
    PQclear(res);
    return true;
}

/* SELECT <key> FROM <root> [WHERE key > after] ORDER BY key <tail> */
static bool walk(const struct source *s, struct pg *pg, const char *after, const char *tail, PGresult **res,
                 struct err *e)
{
    const struct source_table *t = &s->tables[0];
    struct key_parameters p = {0};
    struct buf sql;
    if (after && !one_key(&p, &t->key, after, e)) {
        free_parameters(&p, &t->key);
        return false;
    }
    buf_init(&sql, MAX_SQL);
    buf_adds(&sql, "SELECT ");
    add_columns(&sql, &t->key, "");
    buf_addf(&sql, " FROM %s", t->name);
    if (after) {
        buf_adds(&sql, " WHERE ");
        add_comparison(&sql, &t->key, "", ">", 1);
    }
    buf_adds(&sql, " ORDER BY ");
    add_columns(&sql, &t->key, "");
    buf_adds(&sql, tail);
    bool ok = query(pg, t->label, &sql, after ? (int)t->key.n : 0, p.list, res, e);
    free_parameters(&p, &t->key);
    return ok;
}

bool source_bound(const struct source *s, struct pg *pg, const char *after, int64_t rows, char **to,
                  struct err *e)
{
    char tail[60];
    PGresult *res;
    struct buf text;
    snprintf(tail, sizeof tail, " OFFSET %lld LIMIT 1", (long long)rows - 1);
    if (!walk(s, pg, after, tail, &res, e))
        return false;
    buf_init(&text, MAX_SQL);
    /* NULLs are ordered last: no key follows. */
    const char *key = PQntuples(res) ? join_key(res, 0, NULL, 0, s->tables[0].key.n, &text) : NULL;
    *to = key ? strdup(key) : NULL;
    bool ok = !text.failed && (!key || *to);
    buf_free(&text);
    PQclear(res);
    return ok || err_memory(e);
}

bool source_walk(const struct source *s, struct pg *pg, const char *after, int64_t rows,
                 struct source_list *out, struct err *e)
{
    char tail[60];
    PGresult *res;
    snprintf(tail, sizeof tail, " LIMIT %lld", (long long)rows);
    if (!walk(s, pg, after, tail, &res, e))
        return false;
    bool ok = take_list(res, s->tables[0].key.n, out, e);
    PQclear(res);
    return ok;
}

static bool cast_keys(const struct source *s, struct pg *pg, const char *const *keys, size_t n,
                      struct source_list *out, struct err *e)
{
    const struct source_key *k = &s->tables[0].key;
    struct key_parameters p;
    struct buf sql;
    PGresult *res = NULL;
    buf_init(&sql, MAX_SQL);
    buf_adds(&sql, "SELECT DISTINCT ");
    for (size_t i = 0; i < k->n; i++)
        buf_addf(&sql, "%sk%zu::%s", i ? ", " : "", i, k->types[i]);
    buf_adds(&sql, " FROM ");
    add_texts(&sql, k, 1);
    const char *text = buf_cstr(&sql);
    bool ok = many_keys(&p, k, keys, n, e) &&
              (text ? pg_query(pg, text, (int)k->n, p.list, &res, e) : err_memory(e)) &&
              take_list(res, k->n, out, e);
    PQclear(res);
    free_parameters(&p, k);
    buf_free(&sql);
    return ok;
}

bool source_canonical(const struct source *s, struct pg *pg, const char *const *keys, size_t n,
                      struct source_list *out, struct err *e)
{
    if (cast_keys(s, pg, keys, n, out, e))
        return true;
    if (e->kind == ERR_FINAL) {
        err_wrap(e, "cannot use the given keys");
        e->kind = ERR_USAGE;
    }
    return false;
}

static bool find_absent(const struct source *s, struct pg *pg, const char *const *keys, size_t n,
                        struct source_list *absent, struct err *e)
{
    const struct source_table *t = &s->tables[0];
    const struct source_key *k = &t->key;
    struct key_parameters p;
    struct buf sql;
    PGresult *res = NULL;
    buf_init(&sql, MAX_SQL);
    /* The very text matters, not the value: "7" and "007" are one number, but two documents. */
    buf_adds(&sql, "SELECT ");
    for (size_t i = 0; i < k->n; i++)
        buf_addf(&sql, "%sk%zu", i ? ", " : "", i);
    buf_adds(&sql, " FROM ");
    add_texts(&sql, k, 1);
    buf_addf(&sql, " WHERE NOT EXISTS (SELECT FROM %s t WHERE ", t->name);
    for (size_t i = 0; i < k->n; i++)
        buf_addf(&sql, "%st.%s = k%zu::%s AND pg_catalog.format('%%s', t.%s) = k%zu", i ? " AND " : "",
                 k->names[i], i, k->types[i], k->names[i], i);
    buf_adds(&sql, ")");
    const char *text = buf_cstr(&sql);
    bool ok = many_keys(&p, k, keys, n, e) &&
              (text ? pg_query(pg, text, (int)k->n, p.list, &res, e) : err_memory(e)) &&
              take_list(res, k->n, absent, e);
    PQclear(res);
    free_parameters(&p, k);
    buf_free(&sql);
    return ok;
}

/* One text that is no key makes the server refuse them all: halves find it. */
bool source_absent(const struct source *s, struct pg *pg, const char *const *keys, size_t n,
                   struct source_list *absent, struct source_list *alien, struct err *e)
{
    if (n == 0 || find_absent(s, pg, keys, n, absent, e))
        return true;
    if (e->kind != ERR_FINAL)
        return err_wrap(e, "could not read '%s'", s->tables[0].label);
    struct source_list probe = {0};
    if (n == 1) {
        bool castable = cast_keys(s, pg, keys, n, &probe, e);
        source_list_free(&probe);
        if (castable || e->kind != ERR_FINAL)
            return err_wrap(e, "could not read '%s'", s->tables[0].label); /* it was not the key's fault */
        return source_list_add(alien, keys[0]) || err_memory(e);
    }
    return source_absent(s, pg, keys, n / 2, absent, alien, e) &&
           source_absent(s, pg, keys + n / 2, n - n / 2, absent, alien, e);
}

/* ---- the horizon ---- */

/* A row whose transaction began before another one ended may become visible later with an earlier cursor:
 * nothing at or above the oldest open transaction's start is passed. statement_timestamp() is read before the
 * sessions are looked at: a transaction that begins in between is above it. */
static const char horizon_sql[] =
    "WITH others AS MATERIALIZED ("
    "  SELECT pid, application_name, state, backend_type, xact_start FROM pg_catalog.pg_stat_activity a"
    "   WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()"
    "     AND NOT EXISTS (SELECT FROM unnest($1::int[], $3::bigint[]) own (pid, began) WHERE own.pid = a.pid"
    "                        AND own.began = (extract(epoch FROM a.backend_start) * 1000000)::bigint)"
    "     AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'parallel worker', 'walsender'))"
    " SELECT (extract(epoch FROM pg_catalog.statement_timestamp()) * 1000000)::bigint,"
    "  (SELECT (extract(epoch FROM min(xact_start)) * 1000000)::bigint FROM others),"
    "  (SELECT (extract(epoch FROM min(xact_start)) * 1000000)::bigint FROM others"
    "    WHERE xact_start >= pg_catalog.statement_timestamp() - $2::float8 * interval '1 second'),"
    "  (SELECT 'process ' || pid || coalesce(' (' || nullif(application_name, '') || ')', '') FROM others"
    "    WHERE xact_start IS NOT NULL ORDER BY xact_start LIMIT 1),"
    "  coalesce((SELECT bool_or(backend_type IS NULL OR state = 'disabled') FROM others), false) OR "
    "pg_catalog.pg_is_in_recovery()"
    "   OR EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database())";

static const double DEFAULT_LOOKBACK = 60; /* seconds */

static void read_horizon(const struct source *s, const PGresult *res, struct source_horizon *h)
{
    const struct pipeline *p = s->pipeline;
    *h = (struct source_horizon){.clock_us = strtoll(PQgetvalue(res, 0, 0), NULL, 10)};
    h->oldest_us = PQgetisnull(res, 0, 1) ? 0 : strtoll(PQgetvalue(res, 0, 1), NULL, 10);
    int64_t counts_us = PQgetisnull(res, 0, 2) ? 0 : strtoll(PQgetvalue(res, 0, 2), NULL, 10);
    snprintf(h->who, sizeof h->who, "%s", PQgetvalue(res, 0, 3));
    h->hidden = PQgetvalue(res, 0, 4)[0] == 't';
    h->over_limit = h->oldest_us != counts_us;
    bool given = p->source.lookback >= 0;
    double lookback = given ? p->source.lookback : DEFAULT_LOOKBACK;
    h->horizon_us = h->clock_us;
    if (counts_us != 0 && counts_us < h->horizon_us)
        h->horizon_us = counts_us;
    int64_t back = h->clock_us - (int64_t)(lookback * 1e6);
    if ((given || h->hidden || h->over_limit) && back < h->horizon_us)
        h->horizon_us = back;
}

/* The horizon, and then sql, which is freed, in one round trip. */
static bool query_with_horizon(const struct source *s, struct pg *pg, const char *label, struct buf *sql,
                               int n, const char *const *params, struct source_horizon *horizon,
                               PGresult **out, struct err *e)
{
    struct buf pids, began;
    PGresult *res[2] = {NULL, NULL};
    buf_init(&pids, MAX_SQL);
    buf_init(&began, MAX_SQL);
    pg_add_own_sessions(pg_server_of(pg), &pids, &began);
    const char *text = buf_cstr(sql);
    char limit[40];
    snprintf(limit, sizeof limit, "%.6f", s->pipeline->source.horizon_limit);
    const char *const about[] = {buf_cstr(&pids), limit, buf_cstr(&began)};
    struct pg_statement statements[2] = {{horizon_sql, 3, about}, {text, n, params}};
    bool ok = about[0] && about[2] && text ? pg_query_pair(pg, statements, res, e) : err_memory(e);
    buf_free(&pids);
    buf_free(&began);
    buf_free(sql);
    if (!ok)
        return err_wrap(e, "could not read '%s'", label);
    read_horizon(s, res[0], horizon);
    PQclear(res[0]);
    *out = res[1];
    return true;
}

/* ---- positions ---- */

/* SQL for a cursor's value as microseconds since the epoch. */
static void add_us(struct buf *sql, const struct source_table *t, const char *value)
{
    if (t->cursor_is_time)
        buf_addf(sql, "(extract(epoch FROM %s) * 1000000)::bigint", value);
    else
        buf_adds(sql, "NULL::bigint");
}

/* Infinities are times that nothing comes after, or before: no place to continue from. */
static void add_finite(struct buf *sql, const struct source_table *t)
{
    if (t->cursor_is_time)
        buf_addf(sql, "isfinite(%s)", t->cursor);
    else
        buf_addf(sql, "%s IS NOT NULL", t->cursor);
    for (size_t i = 0; i < t->key.n; i++) /* a view may have rows without a key */
        buf_addf(sql, " AND %s IS NOT NULL", t->key.names[i]);
}

bool source_page_position(const struct source *s, size_t table, const PGresult *page, int row,
                          struct position *out)
{
    int n = (int)s->tables[table].key.n;
    struct buf text;
    position_free(out);
    buf_init(&text, MAX_SQL);
    const char *key = join_key(page, row, NULL, 0, (size_t)n, &text);
    out->cursor = strdup(PQgetvalue(page, row, n));
    out->key = key ? strdup(key) : NULL;
    out->has_us = !PQgetisnull(page, row, n + 1);
    out->us = out->has_us ? strtoll(PQgetvalue(page, row, n + 1), NULL, 10) : 0;
    buf_free(&text);
    return out->cursor && out->key;
}

bool source_page_below(const struct source *s, size_t table, const PGresult *page, int row)
{
    return PQgetvalue(page, row, (int)s->tables[table].key.n + 2)[0] == 't';
}

const char *source_page_version(const struct source *s, size_t table, const PGresult *page, int row)
{
    int column = (int)s->tables[table].key.n + 3;
    return PQgetisnull(page, row, column) ? NULL : PQgetvalue(page, row, column);
}

struct position_parameters {
    const char *list[3 * (SOURCE_KEY_MAX + 1)];
    int n;
    struct key_parameters keys[3];
};

/* Adds "(cursor, key) above `p`", or "not above `p`". which: 0 to 2, whose keys are kept there. */
static bool add_position(struct buf *sql, const struct source_table *t, const struct position *p, bool above,
                         struct position_parameters *params, int which, struct err *e)
{
    params->list[params->n++] = p->cursor;
    if (!p->key) {
        buf_addf(sql, "%s %s $%d::%s", t->cursor, above ? ">=" : "<", params->n, t->cursor_type);
        return true;
    }
    if (!one_key(&params->keys[which], &t->key, p->key, e))
        return false;
    buf_addf(sql, "(%s, ", t->cursor);
    add_columns(sql, &t->key, "");
    buf_addf(sql, ") %s ($%d::%s, ", above ? ">" : "<=", params->n, t->cursor_type);
    add_parameters(sql, &t->key, params->n + 1);
    buf_adds(sql, ")");
    memcpy(params->list + params->n, params->keys[which].list, t->key.n * sizeof *params->list);
    params->n += (int)t->key.n;
    return true;
}

static void add_page_columns(struct buf *sql, const struct source_table *t)
{
    buf_adds(sql, "SELECT ");
    add_columns(sql, &t->key, "");
    buf_addf(sql, ", %s, ", t->cursor);
    add_us(sql, t, t->cursor);
}

static void add_from(struct buf *sql, const struct source_table *t)
{
    buf_addf(sql, " FROM %s WHERE ", t->name);
    add_finite(sql, t);
}

static void add_order(struct buf *sql, const struct source_table *t, const char *direction)
{
    buf_addf(sql, " ORDER BY %s%s", t->cursor, direction);
    for (size_t i = 0; i < t->key.n; i++)
        buf_addf(sql, ", %s%s", t->key.names[i], direction);
}

bool source_page(const struct source *s, struct pg *pg, size_t table, const struct position *from,
                 const struct position *to, const struct position *bound, int64_t rows,
                 struct source_horizon *horizon, PGresult **out, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    struct position_parameters params = {0};
    struct buf sql;
    buf_init(&sql, MAX_SQL);
    add_page_columns(&sql, t);
    buf_adds(&sql, bound->cursor ? ", " : ", false");
    bool ok = !bound->cursor || add_position(&sql, t, bound, false, &params, 0, e);
    buf_adds(&sql, t->has_xmin ? ", xmin" : ", NULL");
    add_from(&sql, t);
    if (ok && from->cursor) {
        buf_adds(&sql, " AND ");
        ok = add_position(&sql, t, from, true, &params, 1, e);
    }
    if (ok && to->cursor) {
        buf_adds(&sql, " AND ");
        ok = add_position(&sql, t, to, false, &params, 2, e);
    }
    add_order(&sql, t, "");
    buf_addf(&sql, " LIMIT %lld", (long long)rows);
    if (ok)
        ok = query_with_horizon(s, pg, t->label, &sql, params.n, params.list, horizon, out, e);
    else
        buf_free(&sql);
    free_parameters(&params.keys[0], &t->key);
    free_parameters(&params.keys[1], &t->key);
    free_parameters(&params.keys[2], &t->key);
    return ok;
}

bool source_last(const struct source *s, struct pg *pg, size_t table, struct position *last,
                 struct source_horizon *horizon, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    struct buf sql;
    PGresult *res;
    buf_init(&sql, MAX_SQL);
    add_page_columns(&sql, t); /* of the last row alone: beside ORDER BY, they would be computed for each */
    buf_adds(&sql, " FROM (SELECT *");
    add_from(&sql, t);
    add_order(&sql, t, " DESC");
    buf_adds(&sql, " LIMIT 1) last");
    if (!query_with_horizon(s, pg, t->label, &sql, 0, NULL, horizon, &res, e))
        return false;
    position_free(last);
    bool ok = PQntuples(res) == 0 || source_page_position(s, table, res, 0, last);
    PQclear(res);
    return ok || err_memory(e);
}

/* Of the latest rows: whether their times are all whole seconds, minutes, hours, days; whether a number is
 * there twice. A few distinct ones are no evidence: a bulk change has but one. */
static void add_grain(struct buf *sql, const struct source_table *t)
{
    static const char *const units[] = {"second", "minute", "hour", "day"};
    enum { LATEST = 1000, EVIDENCE = 10 };
    buf_addf(sql, "SELECT count(DISTINCT c) >= %d", EVIDENCE);
    for (size_t i = 0; t->cursor_is_time && i < sizeof units / sizeof *units; i++)
        buf_addf(sql, ", bool_and(c = date_trunc('%s', c))", units[i]);
    if (!t->cursor_is_time)
        buf_adds(sql, ", count(DISTINCT c) < count(*)");
    buf_addf(sql, " FROM (SELECT %s AS c", t->cursor);
    add_from(sql, t);
    buf_addf(sql, " ORDER BY %s DESC LIMIT %d) latest", t->cursor, LATEST);
}

bool source_grain(const struct source *s, struct pg *pg, size_t table, struct source_grain *g, struct err *e)
{
    static const int64_t seconds[] = {1, 60, 3600, 86400};
    const struct source_table *t = &s->tables[table];
    struct buf sql;
    PGresult *res;
    *g = (struct source_grain){.coarse = t->cursor_is_rounded};
    if (t->cursor_is_rounded && t->cursor_is_time)
        g->step_us = seconds[0] * 1000 * 1000;
    buf_init(&sql, MAX_SQL);
    add_grain(&sql, t);
    if (!query(pg, t->label, &sql, 0, NULL, &res, e))
        return false;
    for (int i = 1; PQgetvalue(res, 0, 0)[0] == 't' && i < PQnfields(res); i++)
        if (PQgetvalue(res, 0, i)[0] == 't') {
            g->coarse = true;
            g->step_us = t->cursor_is_time ? seconds[i - 1] * 1000 * 1000 : 0;
        }
    PQclear(res);
    return true;
}

/* SELECT value, its microseconds: as a position without a key. */
static bool value_position(const struct source_table *t, struct pg *pg, const char *value, const char *param,
                           struct position *out, struct err *e)
{
    struct buf sql;
    PGresult *res;
    buf_init(&sql, MAX_SQL);
    buf_addf(&sql, "SELECT %s, ", value);
    add_us(&sql, t, value);
    if (!query(pg, t->label, &sql, 1, &param, &res, e))
        return false;
    position_free(out);
    out->cursor = strdup(PQgetvalue(res, 0, 0));
    out->has_us = !PQgetisnull(res, 0, 1);
    out->us = out->has_us ? strtoll(PQgetvalue(res, 0, 1), NULL, 10) : 0;
    PQclear(res);
    return out->cursor || err_memory(e);
}

bool source_since(const struct source *s, struct pg *pg, size_t table, const char *text, struct position *out,
                  struct err *e)
{
    const struct source_table *t = &s->tables[table];
    char value[300];
    snprintf(value, sizeof value, "$1::%s", t->cursor_type);
    if (value_position(t, pg, value, text, out, e))
        return true;
    if (e->kind == ERR_FINAL)
        err_set(e, ERR_USAGE, "cannot read '%s' as a value of the cursor of '%s' (%s)", text, t->label,
                t->cursor_type);
    return false;
}

bool source_not_above(const struct source *s, struct pg *pg, const struct position *a,
                      const struct position *b, bool *out, struct err *e)
{
    const struct source_table *t = &s->tables[0];
    *out = !a->cursor;
    if (!a->cursor || !b->cursor)
        return true;
    struct buf sql;
    buf_init(&sql, MAX_SQL);
    buf_addf(&sql, "SELECT $1::%s <= $2::%s", t->cursor_type, t->cursor_type);
    PGresult *res;
    const char *params[] = {a->cursor, b->cursor};
    if (!query(pg, t->label, &sql, 2, params, &res, e))
        return false;
    *out = PQgetvalue(res, 0, 0)[0] == 't';
    PQclear(res);
    return true;
}

/* ---- what changes affect, and what a poll cannot see ---- */

bool source_affected(const struct source *s, struct pg *pg, size_t table, const char *const *keys, size_t n,
                     const char *after, int64_t rows, struct source_list *out, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    const struct source_key *root = &s->tables[0].key;
    struct key_parameters p, a = {0};
    const char *params[2 * SOURCE_KEY_MAX];
    struct buf sql;
    PGresult *res = NULL;
    buf_init(&sql, MAX_SQL);
    bool ok = many_keys(&p, &t->key, keys, n, e) && (!after || one_key(&a, root, after, e));
    int first = (int)t->key.n + 1;
    buf_addf(&sql, "SELECT DISTINCT * FROM ( %s\n) q(", t->affected);
    for (size_t i = 0; i < root->n; i++)
        buf_addf(&sql, "%sk%zu", i ? ", " : "", i);
    buf_adds(&sql, ") WHERE ");
    for (size_t i = 0; i < root->n; i++)
        buf_addf(&sql, "%sk%zu IS NOT NULL", i ? " AND " : "", i);
    if (after) {
        buf_adds(&sql, " AND (");
        for (size_t i = 0; i < root->n; i++)
            buf_addf(&sql, "%sk%zu", i ? ", " : "", i);
        buf_adds(&sql, ") > (");
        add_parameters(&sql, root, first);
        buf_adds(&sql, ")");
    }
    buf_adds(&sql, " ORDER BY ");
    for (size_t i = 0; i < root->n; i++)
        buf_addf(&sql, "%sk%zu", i ? ", " : "", i);
    buf_addf(&sql, " LIMIT %lld", (long long)rows);
    if (ok) {
        memcpy(params, p.list, t->key.n * sizeof *params);
        memcpy(params + t->key.n, a.list, root->n * sizeof *params);
        const char *text = buf_cstr(&sql);
        Oid types[2 * SOURCE_KEY_MAX] = {0};
        memcpy(types, t->arrays, t->key.n * sizeof *types);
        ok = text ? pg_query_typed(pg, text, (int)(t->key.n + (after ? root->n : 0)), types, params, &res, e)
                  : err_memory(e);
        ok = (ok || err_wrap(e, "could not read '%s'", t->label)) && take_list(res, root->n, out, e);
        buf_free(&sql);
    } else {
        buf_free(&sql);
    }
    PQclear(res);
    free_parameters(&p, &t->key);
    free_parameters(&a, root);
    return ok;
}

bool source_unseen(const struct source *s, struct pg *pg, size_t table, bool *some, struct err *e)
{
    const struct source_table *t = &s->tables[table];
    struct buf sql;
    PGresult *res;
    buf_init(&sql, MAX_SQL);
    buf_addf(&sql, "SELECT EXISTS (SELECT FROM %s WHERE %s IS NULL", t->name, t->cursor);
    if (t->cursor_is_time)
        buf_addf(&sql, " OR %s IN ('infinity', '-infinity')", t->cursor);
    buf_adds(&sql, ")");
    if (!query(pg, t->label, &sql, 0, NULL, &res, e))
        return false;
    *some = PQgetvalue(res, 0, 0)[0] == 't';
    PQclear(res);
    return true;
}

bool source_has_index(const struct source *s, struct pg *pg, size_t table, bool *has, struct buf *out,
                      struct err *e)
{
    const struct source_table *t = &s->tables[table];
    struct buf sql;
    PGresult *res;
    const char *params[] = {t->name, t->related ? t->related->cursor : s->pipeline->source.cursor};
    buf_init(&sql, MAX_SQL);
    buf_adds(&sql, "SELECT c.relkind NOT IN ('r', 'p', 'm') OR EXISTS (SELECT FROM pg_catalog.pg_index i"
                   " JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
                   " WHERE i.indrelid = c.oid AND a.attname = $2 AND i.indisvalid AND i.indpred IS NULL)"
                   " FROM pg_catalog.pg_class c WHERE c.oid = $1::pg_catalog.regclass");
    if (!query(pg, t->label, &sql, 2, params, &res, e))
        return false;
    *has = PQntuples(res) == 0 || PQgetvalue(res, 0, 0)[0] == 't';
    PQclear(res);
    if (!*has) {
        buf_addf(out, "CREATE INDEX ON %s (%s, ", t->name, t->cursor);
        add_columns(out, &t->key, "");
        buf_adds(out, ")");
    }
    return true;
}
