#include "init/write_internal.h"

#include "base/err.h"
#include "init/naming.h"
#include "init/sqlname.h"

#include <string.h>

enum {
    QUERY_MAX = 4 << 20,   /* bytes */
    FIELDS_DEFAULT = 1000, /* index.mapping.total_fields.limit, unless told */
    NESTED_DEFAULT = 50,   /* index.mapping.nested_fields.limit */
};

static const char *documents(struct plan *p)
{
    return naming_words(&p->arena, naming_plural(&p->arena, p->root->table->name));
}

/* ---- comments ---- */

static void add_line(struct buf *b, size_t indent, const char *text)
{
    write_indent(b, indent);
    buf_addf(b, "-- %s\n", text);
}

/* A statement that somebody may run: never cut, and a line break in a name stays out of it. */
static void add_statement(struct buf *b, size_t indent, const char *sql)
{
    write_indent(b, indent);
    buf_adds(b, "--   ");
    for (; *sql; sql++)
        buf_addc(b, (unsigned char)*sql < ' ' ? ' ' : *sql);
    buf_addc(b, '\n');
}

static void add_statements(struct buf *b, size_t indent, const char *head,
                           const struct plan_notes *notes)
{
    if (notes->n == 0)
        return;
    add_line(b, indent, head);
    for (size_t i = 0; i < notes->n; i++)
        add_statement(b, indent, notes->list[i]);
}

static void add_head(struct plan *p, struct buf *b)
{
    const struct catalog_table *t = p->root->table;
    struct arena *a = &p->arena;
    const char *what = documents(p);
    if (!*what) /* no memory */
        return;
    buf_addf(b, "-- %c%s: one document for each row of ",
             *what >= 'a' && *what <= 'z' ? *what - 'a' + 'A' : *what, what + 1);
    write_comment(b, sqlname_table(a, p->catalog, t));
    buf_adds(b, ". Written by etl-engine init, to be edited.\n--\n");
    if (t->comment && *t->comment) {
        buf_adds(b, "-- ");
        write_comment(b, t->comment);
        buf_adds(b, "\n--\n");
    }
    buf_addf(b,
             "--     etl-engine %s.lua --dry-run --limit 3   prints documents, changes nothing\n",
             p->name);
    buf_addf(b, "--     etl-engine %s.lua                       brings the index up to date\n",
             p->name);
    buf_addf(b, "--     etl-engine %s.lua --follow              stays, and keeps it up to date\n\n",
             p->name);
}

/* ---- source ---- */

static void add_capture(struct plan *p, struct buf *b)
{
    const struct catalog_column *cursor = p->cursor;
    if (p->wal) {
        buf_addf(
            b,
            "    capture = \"wal\", -- changes come from the write-ahead log; the first run makes "
            "a slot and a\n                     -- publication, etl_%s\n",
            p->name);
        add_statements(b, 4, "Before the first run:", &p->capture);
    } else if (cursor) {
        buf_adds(b, "    cursor  = ");
        write_string(b, cursor->name);
        buf_adds(b, ", -- when a row last changed; a sweep finds deleted rows\n");
    } else {
        add_line(b, 4,
                 "No column says when a row last changed: each run compares all rows with the "
                 "index, and");
        add_line(b, 4,
                 "--follow does so every `sweep` seconds (3600). If there is one: cursor = "
                 "\"modified\"");
    }
    if (!p->wal)
        add_statements(b, 4,
                       "capture = \"wal\" would find every change at once, but:", &p->capture);
}

static void add_query(struct plan *p, struct buf *b)
{
    struct buf sql;
    buf_init(&sql, QUERY_MAX);
    write_query(p, &sql, 6);
    const char *text = buf_cstr(&sql);
    buf_adds(b, "\n    query = ");
    if (text)
        write_long(b, text, 4);
    b->failed |= !text;
    buf_adds(b, ",\n");
    buf_free(&sql);
}

/* A query, whose clauses are parted by \1, with something else between them. */
static void add_clauses(struct buf *b, const char *query, const char *between)
{
    for (const char *end; (end = strchr(query, '\1')); query = end + 1) {
        buf_add(b, query, (size_t)(end - query));
        buf_adds(b, between);
    }
    buf_adds(b, query);
}

/* In a line if it is short, or clause by clause. */
static void add_union_part(struct buf *b, const char *query)
{
    bool fits = strlen(query) <= WRITE_WIDTH - 10;
    buf_adds(b, "          ");
    add_clauses(b, query, fits ? " " : "\n            ");
}

static void add_query_text(struct buf *b, const struct plan_related *r)
{
    struct buf sql;
    bool plain = r->n_queries == 1 && strlen(r->queries[0]) <= WRITE_WIDTH - 22;
    buf_init(&sql, QUERY_MAX);
    for (size_t i = 0; i < r->n_queries && !plain; i++) {
        buf_adds(&sql, i ? "\n          UNION\n" : "");
        add_union_part(&sql, r->queries[i]);
    }
    if (plain)
        add_clauses(&sql, r->queries[0], " ");
    const char *text = buf_cstr(&sql);
    if (text && plain)
        write_string(b, text);
    else if (text)
        write_long(b, text, 8);
    b->failed |= !text;
    buf_free(&sql);
}

static void add_affects(struct buf *b, const struct plan_related *r)
{
    buf_adds(b, "affects = ");
    if (r->affects.n > 0)
        write_columns(b, r->table, &r->affects);
    else
        add_query_text(b, r);
}

static void add_related(struct plan *p, struct buf *b, const struct plan_related *r)
{
    size_t begin = b->len;
    buf_adds(b, "      { table = ");
    write_string(b, sqlname_table(&p->arena, p->catalog, r->table));
    buf_adds(b, ", key = ");
    write_columns(b, r->table, &r->key);
    if (!p->wal && r->cursor) {
        buf_adds(b, ", cursor = ");
        write_string(b, r->cursor->name);
    }
    size_t cut = b->len;
    buf_adds(b, ", ");
    add_affects(b, r);
    if (b->len - begin > WRITE_WIDTH && !b->failed) {
        buf_cut(b, cut);
        buf_adds(b, ",\n        ");
        add_affects(b, r);
    }
    if (r->index_field) {
        buf_adds(b, b->len - begin > WRITE_WIDTH / 2 ? ",\n        index_field = "
                                                     : ", index_field = ");
        write_string(b, r->index_field);
    }
    buf_adds(b, " },\n");
}

static bool lacks_cursor(const struct plan *p)
{
    for (size_t i = 0; i < p->n_related; i++)
        if (!p->wal && !p->related[i].cursor)
            return true;
    return false;
}

/* whole: of a table whose whole rows the log can have. */
static bool has_index_field(const struct plan *p, bool whole)
{
    for (size_t i = 0; i < p->n_related; i++)
        if (p->related[i].index_field && !(whole && p->related[i].table->has_virtual))
            return true;
    return false;
}

static void add_relateds(struct plan *p, struct buf *b)
{
    if (p->n_related > 0) {
        buf_adds(b, "\n");
        add_line(b, 4,
                 "A change in one of these tables changes the documents that it `affects`: a "
                 "column with");
        add_line(b, 4,
                 "their key, or a query from the keys of the changed rows, $1, to their keys.");
        if (lacks_cursor(p))
            add_line(b, 4, "Of a table without a cursor, a sweep finds the changes.");
        if (has_index_field(p, false))
            add_line(b, 4,
                     "index_field: of a row that was deleted or moved, the index tells which "
                     "document had it.");
        if (has_index_field(p, true))
            add_line(
                b, 4,
                "After ALTER TABLE ... REPLICA IDENTITY FULL the log tells, and it is not needed.");
        buf_adds(b, "    related = {\n");
        for (size_t i = 0; i < p->n_related; i++)
            add_related(p, b, &p->related[i]);
        buf_adds(b, "    },\n");
    }
    add_statements(b, 4, "Indexes that are missing, and would make this faster:", &p->indexes);
    add_statements(b, 4,
                   "With these, the log also tells which documents a deleted or moved row was in; "
                   "else only\n    -- etl-engine --sweep finds those:",
                   &p->identity);
}

static void add_source(struct plan *p, struct buf *b, const struct write_options *o)
{
    const struct catalog_table *t = p->root->table;
    buf_adds(b, "  source = {\n    url     = etl.secret \"DATABASE_URL\" or ");
    write_string(b, o->url);
    buf_adds(b, ",\n");
    if (o->has_password)
        add_line(b, 4,
                 "The password is not here: put it into ~/.pgpass, PGPASSWORD or DATABASE_URL.");
    buf_adds(b, "    table   = ");
    write_string(b, sqlname_table(&p->arena, p->catalog, t));
    buf_adds(b, ",\n    key     = ");
    write_columns(b, t, &p->key);
    buf_adds(b, p->key_guessed ? ", -- a guess: it must be different in each row\n"
                               : ", -- becomes the document's _id\n");
    add_capture(p, b);
    add_query(p, b);
    add_relateds(p, b);
    buf_adds(b, "  },\n\n");
}

/* ---- document ---- */

static void add_left_out(struct buf *b, const struct plan_node *n)
{
    if (n->n_left_out == 0)
        return;
    buf_addf(b, "    -- left out%s", n->name ? " of " : ": ");
    if (n->name) {
        write_comment(b, n->name);
        buf_adds(b, ": ");
    }
    for (size_t i = 0; i < n->n_left_out; i++) {
        buf_adds(b, i ? ", " : "");
        write_comment(b, n->left_out[i]);
    }
    buf_addc(b, '\n');
}

static void add_all_left_out(struct buf *b, const struct plan_node *n)
{
    add_left_out(b, n);
    for (const struct plan_node *child = n->first; child; child = child->next)
        add_all_left_out(b, child);
}

static size_t widest_name(const struct plan_node *n)
{
    size_t width = 0;
    for (size_t i = 0; i < n->n_fields; i++) {
        size_t own = write_key_width(n->fields[i].name);
        width = own > width ? own : width;
    }
    for (const struct plan_node *child = n->first; child; child = child->next) {
        size_t own = write_key_width(child->name);
        width = own > width ? own : width;
    }
    return width;
}

static void add_document(struct plan *p, struct buf *b)
{
    const struct plan_node *n = p->root;
    size_t width = widest_name(n);
    add_line(
        b, 2,
        "field = \"column\", or a function of the row: n = function(row) return 2 * row.n end");
    buf_adds(b, "  document = {\n");
    for (size_t i = 0; i < n->n_fields; i++) {
        const struct plan_field *f = &n->fields[i];
        write_field(b, 4, f->name, width);
        write_string(b, f->column->name);
        buf_addc(b, ',');
        if (f->column->comment && *f->column->comment) {
            buf_adds(b, " -- ");
            write_comment(b, f->column->comment);
        }
        buf_addc(b, '\n');
    }
    for (const struct plan_node *child = n->first; child; child = child->next) {
        write_field(b, 4, child->name, width);
        write_string(b, child->name);
        buf_adds(b, ",\n");
    }
    add_all_left_out(b, n);
    for (size_t i = 0; i < p->left_out.n; i++) {
        buf_adds(b, "    -- left out: ");
        write_comment(b, p->left_out.list[i]);
        buf_addc(b, '\n');
    }
    buf_adds(b, "  },\n\n");
}

/* ---- sink ---- */

static size_t count_nested(const struct plan_node *n)
{
    size_t count = n->shape == PLAN_ARRAY;
    for (const struct plan_node *child = n->first; child; child = child->next)
        count += count_nested(child);
    return count;
}

static void add_sink(struct plan *p, struct buf *b)
{
    size_t fields = write_count_fields(p->root), nested = count_nested(p->root);
    buf_adds(b, "  sink = {\n"
                "    url   = etl.secret \"ELASTICSEARCH_URL\" or \"http://127.0.0.1:9200\",\n"
                "    index = ");
    write_string(b, p->index);
    buf_adds(b, ",\n\n");
    add_line(b, 4,
             "The index is created with these. A change that an open index does not take: "
             "etl-engine reindex");
    buf_adds(b, "    settings = {\n"
                "      number_of_shards   = 1,\n"
                "      number_of_replicas = 0, -- raise it where there is more than one node\n"
                "      refresh_interval   = \"1s\",\n");
    if (fields > FIELDS_DEFAULT)
        buf_addf(b, "      [\"mapping.total_fields.limit\"] = %zu,\n", fields + FIELDS_DEFAULT);
    if (nested > NESTED_DEFAULT)
        buf_addf(b, "      [\"mapping.nested_fields.limit\"] = %zu,\n", nested + NESTED_DEFAULT);
    buf_adds(b, "    },\n    mappings = {\n"
                "      dynamic = \"strict\", -- a field that is not listed here is an error\n"
                "      properties = {\n");
    write_properties(p, b, 8);
    buf_adds(b, "      },\n    },\n  },\n\n");
}

bool write_script(struct plan *p, const struct write_options *o, struct buf *out, struct err *e)
{
    add_head(p, out);
    buf_adds(out, "local etl = require \"etl\"\n\n");
    if (write_has_text(p->root))
        buf_adds(out, "-- name finds words, name.keyword is the whole: to sort by, or to group by\n"
                      "local text = " COLUMN_TYPE_TEXT_IS "\n\n");
    buf_adds(out, "---@type etl.Pipeline\nreturn {\n  name = ");
    write_string(out, p->name);
    buf_adds(out, ",\n\n");
    add_source(p, out, o);
    add_document(p, out);
    add_sink(p, out);
    buf_addf(out,
             "  state = \"%s.state\", -- how far it has come; without this file, all rows are "
             "loaded\n}\n",
             p->name);
    return (!out->failed && !p->arena.failed) || err_memory(e);
}
