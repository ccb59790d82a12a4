#include "init/plan_internal.h"

#include "base/err.h"
#include "base/suggest.h"
#include "init/naming.h"
#include "init/sqlname.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the table ---- */

enum { NAME_MAX_BYTES = 130 };

struct wanted {
    char schema[NAME_MAX_BYTES]; /* "": none */
    char name[NAME_MAX_BYTES];
};

/* Reads one name, with or without quotes, up to a dot. Returns where it ends. */
static const char *read_name(const char *text, char out[NAME_MAX_BYTES])
{
    size_t n = 0;
    bool quoted = *text == '"';
    for (text += quoted; *text && (quoted || *text != '.'); text++) {
        if (quoted && *text == '"' && *++text != '"')
            break;
        if (n < NAME_MAX_BYTES - 1)
            out[n++] = *text;
    }
    out[n] = '\0';
    return text;
}

/* film; content.film_work; "FilmWork"; content."FilmWork" */
static void read_wanted(const char *text, struct wanted *w)
{
    w->schema[0] = '\0';
    text = read_name(text, w->name);
    if (*text == '.') {
        memcpy(w->schema, w->name, sizeof w->schema);
        read_name(text + 1, w->name);
    }
}

typedef int compare(const char *a, const char *b);

static bool fits(const struct catalog_table *t, const struct wanted *w, compare *same)
{
    return same(t->name, w->name) == 0 && (!w->schema[0] || same(t->schema, w->schema) == 0);
}

/* The table that fits, a visible one before others. *n: how many fit equally well. */
static const struct catalog_table *pick(const struct catalog *c, const struct wanted *w,
                                        compare *same, size_t *n)
{
    const struct catalog_table *best = NULL;
    *n = 0;
    for (size_t i = 0; i < c->n_tables; i++) {
        const struct catalog_table *t = &c->tables[i];
        if (!fits(t, w, same) || (best && best->visible && !t->visible))
            continue;
        *n = best && best->visible == t->visible ? *n + 1 : 1;
        if (*n == 1)
            best = t;
    }
    return best;
}

/* The nearest name of any table; of one that is not visible, with its schema. */
static const char *nearest(const struct catalog *c, const struct wanted *w, char out[300])
{
    const char **names = calloc(c->n_tables + 1, sizeof *names);
    const char *near = NULL;
    if (names) {
        for (size_t i = 0; i < c->n_tables; i++)
            names[i] = c->tables[i].name;
        near = suggest(w->name, names, c->n_tables);
        free(names);
    }
    for (size_t i = 0; near && i < c->n_tables; i++) {
        const struct catalog_table *t = &c->tables[i];
        if (strcmp(t->name, near) != 0)
            continue;
        snprintf(out, 300, "%s%s%s", t->visible ? "" : t->schema, t->visible ? "" : ".", t->name);
        return out;
    }
    return NULL;
}

static bool unknown_table(const struct catalog *c, const struct wanted *w, const char *name,
                          struct err *e)
{
    char near[300];
    if (nearest(c, w, near))
        err_set(e, ERR_USAGE, "database '%s' has no table '%s', did you mean '%s'?", c->database,
                name, near);
    else
        err_set(e, ERR_USAGE, "database '%s' has no table '%s'", c->database, name);
    return err_hint(e, "without TABLE, etl-engine init lists the tables");
}

const struct catalog_table *plan_find_table(const struct catalog *c, const char *name,
                                            struct err *e)
{
    struct wanted w;
    size_t n;
    read_wanted(name, &w);
    const struct catalog_table *t = pick(c, &w, strcmp, &n);
    if (!t)
        t = pick(c, &w, strcasecmp, &n);
    if (!t) {
        unknown_table(c, &w, name, e);
        return NULL;
    }
    if (n > 1) {
        err_set(e, ERR_USAGE, "there are %zu tables '%s'", n, name);
        err_hint(e, "name its schema: %s.%s", t->schema, t->name);
        return NULL;
    }
    if (!t->readable) {
        err_set(e, ERR_USAGE, "role '%s' may not read table '%s.%s'", c->role, t->schema, t->name);
        err_hint(e, "GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s.%s TO %s", t->schema,
                 c->role, t->schema, t->name, c->role);
        return NULL;
    }
    return t;
}

/* ---- its key ---- */

static bool find_column(const struct catalog_table *t, const char *name, size_t *at)
{
    for (size_t i = 0; i < t->n_columns; i++)
        if (strcmp(t->columns[i].name, name) == 0) {
            *at = i;
            return true;
        }
    return false;
}

static bool unknown_key(const struct catalog_table *t, const char *name, struct err *e)
{
    const char **names = calloc(t->n_columns + 1, sizeof *names);
    const char *near = NULL;
    for (size_t i = 0; names && i < t->n_columns; i++)
        names[i] = t->columns[i].name;
    if (names)
        near = suggest(name, names, t->n_columns);
    free(names);
    return near ? err_set(e, ERR_USAGE, "table '%s' has no column '%s', did you mean '%s'?",
                          t->name, name, near)
                : err_set(e, ERR_USAGE, "table '%s' has no column '%s'", t->name, name);
}

/* --key a,b */
static bool read_key(struct plan *p, const struct catalog_table *t, const char *text, struct err *e)
{
    p->key.n = 0;
    while (p->key.n < CATALOG_KEY_MAX) {
        size_t len = strcspn(text, ",");
        const char *name = arena_textf(&p->arena, "%.*s", (int)len, text);
        if (!find_column(t, name, &p->key.at[p->key.n]))
            return unknown_key(t, name, e);
        p->key.n++;
        if (!text[len])
            return true;
        text += len + 1;
    }
    return err_set(e, ERR_USAGE, "a key has at most %d columns", CATALOG_KEY_MAX);
}

/* A view, or a table without a unique index: by a name that keys usually have. */
static bool guess_key(struct plan *p, const struct catalog_table *t)
{
    const char *one = naming_singular(&p->arena, t->name);
    const char *const names[] = {"id",
                                 arena_textf(&p->arena, "%s_id", one),
                                 arena_textf(&p->arena, "%s_id", t->name),
                                 arena_textf(&p->arena, "%sid", one),
                                 "uuid",
                                 "key",
                                 "code"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t k = 0; k < t->n_columns; k++)
            if (strcasecmp(t->columns[k].name, names[i]) == 0) {
                p->key = (struct catalog_columns){1, {k}};
                return p->key_guessed = true;
            }
    return false;
}

static bool find_key(struct plan *p, const struct catalog_table *t, const char *given,
                     struct err *e)
{
    const struct catalog_index *identity = catalog_identity(t);
    if (given)
        return read_key(p, t, given, e);
    if (identity) {
        p->key = identity->columns;
        return true;
    }
    if (guess_key(p, t))
        return true;
    err_set(e, ERR_USAGE, "cannot tell which column of '%s' identifies a row: it has no %s",
            t->name,
            t->kind == 'v' || t->kind == 'f' ? "primary key, as no view has"
                                             : "primary key and no unique index");
    return err_hint(e, "name it: --key COLUMN, or --key COLUMN,COLUMN");
}

/* ---- how changes are captured ---- */

enum { OLDEST_LOG = 110000 };

/* What stands against the log on this server. */
static void check_server(struct plan *p)
{
    const struct catalog *c = p->catalog;
    struct arena *a = &p->arena;
    const char *role = sqlname(a, c, c->role);
    if (c->version < OLDEST_LOG)
        plan_note(p, &p->capture,
                  "the log of PostgreSQL before version 11 does not tell of TRUNCATE");
    if (strcmp(c->wal_level, "logical") != 0)
        plan_note(p, &p->capture,
                  arena_textf(a,
                              "wal_level is '%s': ALTER SYSTEM SET wal_level = logical, then "
                              "restart the server",
                              c->wal_level));
    if (c->standby)
        plan_note(p, &p->capture, "the server is a standby");
    if (!c->has_slots)
        plan_note(p, &p->capture, "max_replication_slots is 0");
    if (!c->may_replicate)
        plan_note(
            p, &p->capture,
            arena_textf(a, "role %s may not replicate: ALTER ROLE %s REPLICATION", role, role));
    if (!c->may_publish)
        plan_note(p, &p->capture,
                  arena_textf(a, "role %s may not publish: GRANT CREATE ON DATABASE %s TO %s", role,
                              sqlname(a, c, c->database), role));
}

static void check_owner(struct plan *p, const struct catalog_table *t)
{
    struct arena *a = &p->arena;
    if (!t->owned && t->logged)
        plan_note(p, &p->capture,
                  arena_textf(a, "role %s does not own %s, and so may not publish it",
                              sqlname(a, p->catalog, p->catalog->role),
                              sqlname_table(a, p->catalog, t)));
}

static void check_owners(struct plan *p, const struct plan_node *n)
{
    check_owner(p, n->table);
    if (n->link)
        check_owner(p, n->link);
    for (const struct plan_node *child = n->first; child; child = child->next)
        check_owners(p, child);
}

static void check_root(struct plan *p)
{
    const struct catalog_table *t = p->root->table;
    const char *name = sqlname_table(&p->arena, p->catalog, t);
    if (!t->logged && t->kind == 'p')
        plan_note(
            p, &p->capture,
            arena_textf(&p->arena, "%s is partitioned: the log tells of partitions alone", name));
    else if (!t->logged)
        plan_note(p, &p->capture, arena_textf(&p->arena, "%s is not an ordinary table", name));
    else if (t->identity == 'f' && t->has_virtual)
        plan_note(p, &p->capture,
                  arena_textf(&p->arena,
                              "%s has virtual columns, which the log cannot have: ALTER TABLE %s "
                              "REPLICA IDENTITY DEFAULT",
                              name, name));
    else if (!catalog_keeps_old(t, &p->key))
        plan_note(p, &p->capture,
                  arena_textf(&p->arena,
                              "the log does not tell which row of %s has changed: ALTER TABLE %s "
                              "REPLICA IDENTITY %s",
                              name, name, t->has_virtual ? "USING INDEX ..." : "FULL"));
}

static void choose_capture(struct plan *p, enum plan_capture wanted)
{
    if (wanted != PLAN_POLL) {
        check_root(p);
        check_server(p);
        check_owners(p, p->root);
    }
    p->wal = wanted == PLAN_WAL || (wanted == PLAN_AUTO && p->capture.n == 0);
    p->cursor = p->wal ? NULL : column_best_cursor(p->root->table);
}

/* ---- all of it ---- */

bool plan_make(struct plan *p, const struct catalog *c, const struct plan_options *o, struct err *e)
{
    *p = (struct plan){.catalog = c};
    const struct catalog_table *t = plan_find_table(c, o->table, e);
    if (!t || !find_key(p, t, o->key, e)) {
        plan_free(p);
        return false;
    }
    p->index = o->index ? arena_copy(&p->arena, o->index)
                        : naming_index(&p->arena, naming_plural(&p->arena, t->name));
    p->name = naming_index(&p->arena, p->index);
    bool ok = plan_tree(p, t, o->depth);
    if (ok)
        choose_capture(p, o->capture);
    if (ok && plan_keep_links(p) && plan_names(p) && plan_relate(p))
        return true;
    plan_free(p);
    return err_memory(e);
}

void plan_free(struct plan *p)
{
    arena_free(&p->arena);
    *p = (struct plan){0};
}
