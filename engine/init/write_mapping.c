/* write_mapping: sink.mappings: each field by the type of its column. */
#include "init/write_internal.h"

#include <string.h>

size_t write_count_fields(const struct plan_node *n)
{
    size_t count = 1;
    for (size_t i = 0; i < n->n_fields; i++)
        count += strcmp(n->fields[i].type.mapping, COLUMN_TYPE_TEXT) == 0 ? 2 : 1;
    for (const struct plan_node *child = n->first; child; child = child->next)
        count += write_count_fields(child);
    return count;
}

bool write_has_text(const struct plan_node *n)
{
    for (size_t i = 0; i < n->n_fields; i++)
        if (strcmp(n->fields[i].type.mapping, COLUMN_TYPE_TEXT) == 0)
            return true;
    for (const struct plan_node *child = n->first; child; child = child->next)
        if (write_has_text(child))
            return true;
    return false;
}

/* All in one line: name = { type = "keyword" }, ... */
static void add_inline(struct buf *b, const struct plan_node *n)
{
    const char *comma = "";
    for (size_t i = 0; i < n->n_fields; i++, comma = ", ") {
        buf_adds(b, comma);
        write_key(b, n->fields[i].name);
        buf_addf(b, " = %s", n->fields[i].type.mapping);
    }
    for (const struct plan_node *child = n->first; child; child = child->next, comma = ", ") {
        buf_adds(b, comma);
        write_key(b, child->name);
        buf_addf(b, " = { %sproperties = { ",
                 child->shape == PLAN_ARRAY ? "type = \"nested\", " : "");
        add_inline(b, child);
        buf_adds(b, " } }");
    }
    if (!*comma)
        buf_adds(b, "present = { type = \"boolean\" }");
}

static size_t widest(const struct plan_node *n)
{
    size_t width = 0;
    for (size_t i = 0; i < n->n_fields; i++) {
        size_t own = write_key_width(n->fields[i].name);
        width = own > width ? own : width;
    }
    return width;
}

/* Whether the node's properties fit into one line; then they are added. */
static bool try_inline(struct buf *b, const struct plan_node *n, size_t used)
{
    size_t before = b->len;
    add_inline(b, n);
    if (n->n_fields + (n->first != NULL) == 0 || b->len - before + used <= WRITE_WIDTH)
        return true;
    buf_cut(b, before);
    return false;
}

static void add_properties(struct buf *b, const struct plan_node *n, size_t indent);

static void add_child(struct buf *b, const struct plan_node *n, size_t indent)
{
    size_t begin = b->len;
    write_field(b, indent, n->name, 0);
    buf_addf(b, "{ %sproperties = { ", n->shape == PLAN_ARRAY ? "type = \"nested\", " : "");
    if (try_inline(b, n, b->len - begin + 5)) {
        buf_adds(b, " } },\n");
        return;
    }
    buf_cut(b, begin);
    write_field(b, indent, n->name, 0);
    buf_adds(b, "{\n");
    if (n->shape == PLAN_ARRAY) {
        write_indent(b, indent + 2);
        buf_adds(b, "type = \"nested\",\n");
    }
    write_indent(b, indent + 2);
    buf_adds(b, "properties = {\n");
    add_properties(b, n, indent + 4);
    write_indent(b, indent + 2);
    buf_adds(b, "},\n");
    write_indent(b, indent);
    buf_adds(b, "},\n");
}

static void add_properties(struct buf *b, const struct plan_node *n, size_t indent)
{
    size_t width = widest(n);
    for (size_t i = 0; i < n->n_fields; i++) {
        write_field(b, indent, n->fields[i].name, width);
        buf_addf(b, "%s,\n", n->fields[i].type.mapping);
    }
    for (const struct plan_node *child = n->first; child; child = child->next)
        add_child(b, child, indent);
}

void write_properties(struct plan *p, struct buf *b, size_t indent)
{
    add_properties(b, p->root, indent);
}
