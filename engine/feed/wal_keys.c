#include "feed/wal_keys.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/grow.h"
#include "model/key.h"
#include "model/keylist.h"
#include "pg/pgoutput.h"

#include <stdlib.h>
#include <string.h>

enum {
    COLUMNS_MAX = 32,      /* of a key: PostgreSQL's limit for an index */
    VALUES_MAX = 64 << 20, /* bytes of a key */
};

struct table {
    char *schema, *name;         /* owned, as are these */
    struct keylist key, affects; /* columns */
    uint32_t *oids;
    struct wal_table is; /* with all of that */
};

/* One table of the script in a relation: where its columns are. */
struct use {
    size_t table;
    int key[COLUMNS_MAX], affects[COLUMNS_MAX];
};

struct relation {
    uint32_t oid;
    struct use *uses; /* owned */
    size_t n, cap;
    bool outdated; /* it lacks a column of the script */
};

struct wal_keys {
    struct table *tables; /* owned, as are the relations */
    size_t n_tables, tables_cap;
    struct relation *relations;
    size_t n_relations, relations_cap;
    struct buf values, key; /* of the key that is announced */
    struct err outdated;    /* which relation lacks which column; ERR_NONE: none does */
};

struct wal_keys *wal_keys_new(void)
{
    struct wal_keys *k = calloc(1, sizeof *k);
    if (k) {
        buf_init(&k->values, VALUES_MAX);
        buf_init(&k->key, VALUES_MAX);
    }
    return k;
}

void wal_keys_forget(struct wal_keys *k)
{
    for (size_t i = 0; i < k->n_relations; i++)
        free(k->relations[i].uses);
    k->n_relations = 0;
}

void wal_keys_free(struct wal_keys *k)
{
    if (!k)
        return;
    wal_keys_forget(k);
    for (size_t i = 0; i < k->n_tables; i++) {
        free(k->tables[i].schema);
        free(k->tables[i].name);
        keylist_free(&k->tables[i].key);
        keylist_free(&k->tables[i].affects);
        free(k->tables[i].oids);
    }
    free(k->tables);
    free(k->relations);
    buf_free(&k->values);
    buf_free(&k->key);
    free(k);
}

static bool copy_names(struct keylist *to, struct wal_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        if (!keylist_add(to, names->list[i]))
            return false;
    names->list = (const char *const *)to->keys;
    return true;
}

static bool copy_table(struct table *t)
{
    struct wal_table *is = &t->is;
    t->schema = strdup(is->schema);
    t->name = strdup(is->name);
    t->oids = calloc(is->n_oids + 1, sizeof *t->oids);
    if (!t->schema || !t->name || !t->oids)
        return false;
    if (is->n_oids > 0)
        memcpy(t->oids, is->oids, is->n_oids * sizeof *t->oids);
    is->schema = t->schema;
    is->name = t->name;
    is->oids = t->oids;
    return copy_names(&t->key, &is->key) && copy_names(&t->affects, &is->affects);
}

bool wal_keys_add(struct wal_keys *k, const struct wal_table *table, struct err *e)
{
    struct table *list = grow(k->tables, k->n_tables, &k->tables_cap, 8, sizeof *list);
    if (!list)
        return err_memory(e);
    k->tables = list;
    struct table *t = &list[k->n_tables++];
    *t = (struct table){.is = *table};
    return copy_table(t) || err_memory(e);
}

/* ---- relations ---- */

static struct relation *find_relation(struct wal_keys *k, uint32_t oid)
{
    for (size_t i = 0; i < k->n_relations; i++)
        if (k->relations[i].oid == oid)
            return &k->relations[i];
    return NULL;
}

static struct relation *get_relation(struct wal_keys *k, uint32_t oid)
{
    struct relation *r = find_relation(k, oid);
    if (r) {
        r->n = 0; /* it is described again */
        r->outdated = false;
        return r;
    }
    r = grow(k->relations, k->n_relations, &k->relations_cap, 8, sizeof *r);
    if (!r)
        return NULL;
    k->relations = r;
    r = &k->relations[k->n_relations++];
    *r = (struct relation){.oid = oid};
    return r;
}

static bool find_columns(const struct pgoutput_event *event, const struct wal_names *names, int *at,
                         struct err *e)
{
    struct pgoutput_column c;
    for (size_t i = 0; i < names->n && i < COLUMNS_MAX; i++) {
        at[i] = -1;
        for (int n = 0; at[i] < 0 && pgoutput_column(event, n, &c); n++)
            if (strcmp(c.name, names->list[i]) == 0)
                at[i] = n;
        if (at[i] < 0) {
            err_set(e, ERR_FINAL, "cannot follow table '%s.%s': it has no column '%s' any more",
                    event->schema, event->name, names->list[i]);
            e->fault = ERR_FAULT_SCHEMA;
            return false;
        }
    }
    return true;
}

/* pgoutput leaves the schema out for pg_catalog. */
static bool is_relation(const struct wal_table *t, const struct pgoutput_event *event)
{
    const char *schema = *event->schema ? event->schema : "pg_catalog";
    for (size_t i = 0; i < t->n_oids; i++)
        if (t->oids[i] == event->relation)
            return true;
    return strcmp(t->name, event->name) == 0 && strcmp(t->schema, schema) == 0;
}

static bool describe(struct wal_keys *k, const struct pgoutput_event *event, struct err *e)
{
    struct relation *r = get_relation(k, event->relation);
    if (!r)
        return err_memory(e);
    for (size_t i = 0; i < k->n_tables; i++) {
        const struct wal_table *t = &k->tables[i].is;
        if (!is_relation(t, event))
            continue;
        struct use *uses = grow(r->uses, r->n, &r->cap, 2, sizeof *uses);
        if (!uses)
            return err_memory(e);
        r->uses = uses;
        r->uses[r->n].table = i;
        r->outdated |= !find_columns(event, &t->key, r->uses[r->n].key, &k->outdated) ||
                       !find_columns(event, &t->affects, r->uses[r->n].affects, &k->outdated);
        r->n++;
    }
    return true;
}

/* ---- rows ---- */

struct rows { /* the one that is looked into, and the one that has its unchanged large values */
    const struct pgoutput_row *row, *other;
};

/* Adds the value to k->values, with a final zero. False: it is NULL, or not in the log. */
static bool add_value(struct wal_keys *k, const struct rows *rows, int column)
{
    struct pgoutput_value v;
    if (!pgoutput_value(rows->row, column, &v))
        return false;
    if (v.kind == PGOUTPUT_UNCHANGED && (!rows->other || !pgoutput_value(rows->other, column, &v)))
        return false;
    return v.kind == PGOUTPUT_TEXT && buf_add(&k->values, v.text, v.len) &&
           buf_addc(&k->values, '\0');
}

/* The text of the key that these columns make in the row. *known: it has one. False: no memory. */
static bool make_key(struct wal_keys *k, const struct rows *rows, const int *columns, size_t n,
                     bool *known)
{
    const char *parts[COLUMNS_MAX];
    *known = n > 0 && n <= COLUMNS_MAX;
    buf_clear(&k->values);
    buf_clear(&k->key);
    for (size_t i = 0; *known && i < n; i++)
        *known = add_value(k, rows, columns[i]);
    if (!*known)
        return !k->values.failed;
    const char *at = k->values.data;
    for (size_t i = 0; i < n; i++, at += strlen(at) + 1)
        parts[i] = at;
    return key_join(&k->key, parts, n) && buf_cstr(&k->key);
}

struct telling {
    struct wal_keys *keys;
    wal_announce *announce;
    void *arg;
};

/* Announces the row's key of that kind. *known: it has one. */
static bool tell_key(const struct telling *t, const struct use *u, const struct rows *rows,
                     bool by_affects, bool *known, struct err *e)
{
    const struct wal_table *table = &t->keys->tables[u->table].is;
    enum wal_kind kind = table->is_root || by_affects ? WAL_ROOT : WAL_RELATED;
    if (!make_key(t->keys, rows, by_affects ? u->affects : u->key,
                  by_affects ? table->affects.n : table->key.n, known))
        return err_memory(e);
    return !*known || t->announce(t->arg, kind, u->table, t->keys->key.data, e);
}

/* by_key: the table's key leads to what its columns do not tell. *known: they tell it. */
static bool tell_row(const struct telling *t, const struct use *u, const struct rows *rows,
                     bool by_key, bool *known, struct err *e)
{
    bool by_affects = t->keys->tables[u->table].is.affects.n > 0, ignored;
    *known = false;
    if (by_affects && !tell_key(t, u, rows, true, known, e))
        return false;
    return *known || (by_affects && !by_key) || tell_key(t, u, rows, false, &ignored, e);
}

/* With an index_field, an old row whose columns are not in the log is asked for by its key. */
static bool tell_use(const struct telling *t, const struct use *u,
                     const struct pgoutput_event *event, struct err *e)
{
    const struct wal_table *table = &t->keys->tables[u->table].is;
    bool has_old = event->old != PGOUTPUT_OLD_NONE, has_new = event->kind != PGOUTPUT_DELETE;
    bool asks = table->asks_index && table->affects.n > 0, known = false, ignored;
    struct rows old = {&event->old_row, NULL}, new = {&event->new_row, has_old ? old.row : NULL};
    if (has_old && !tell_row(t, u, &old, asks, &known, e))
        return false;
    if (asks && !known && event->kind == PGOUTPUT_UPDATE &&
        !tell_key(t, u, &new, false, &ignored, e))
        return false;
    return !has_new || tell_row(t, u, &new, true, &ignored, e);
}

static bool tell_change(const struct telling *t, const struct pgoutput_event *event, struct err *e)
{
    const struct relation *r = find_relation(t->keys, event->relation);
    if (!r)
        return err_set(e, ERR_FINAL,
                       "cannot read the log: it has a change of a table that it has "
                       "not described");
    if (r->outdated)
        return t->announce(t->arg, WAL_SWEEP, r->uses[0].table, NULL, e);
    for (size_t i = 0; i < r->n; i++)
        if (!tell_use(t, &r->uses[i], event, e))
            return false;
    return true;
}

bool wal_keys_is_outdated(const struct wal_keys *k, struct err *e)
{
    if (k->outdated.kind == ERR_NONE)
        return false;
    *e = k->outdated;
    return true;
}

static bool tell_truncate(const struct telling *t, const struct pgoutput_event *event,
                          struct err *e)
{
    for (int i = 0; i < event->n; i++) {
        const struct relation *r = find_relation(t->keys, pgoutput_truncated(event, i));
        if (r && r->n > 0)
            return t->announce(t->arg, WAL_SWEEP, r->uses[0].table, NULL, e);
    }
    return true;
}

bool wal_keys_event(struct wal_keys *k, const struct pgoutput_event *event, wal_announce *announce,
                    void *arg, struct err *e)
{
    struct telling t = {k, announce, arg};
    switch (event->kind) {
    case PGOUTPUT_RELATION:
        return describe(k, event, e);
    case PGOUTPUT_INSERT:
    case PGOUTPUT_UPDATE:
    case PGOUTPUT_DELETE:
        return tell_change(&t, event, e);
    case PGOUTPUT_TRUNCATE:
        return tell_truncate(&t, event, e);
    case PGOUTPUT_BEGIN:
    case PGOUTPUT_COMMIT:
    case PGOUTPUT_ORIGIN:
    case PGOUTPUT_TYPE:
    case PGOUTPUT_MESSAGE:
        return true;
    }
    return true;
}
