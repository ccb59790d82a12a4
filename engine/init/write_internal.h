/* write_internal: the parts of write.
 *
 *     write.c          the script
 *     write_query.c    source.query
 *     write_mapping.c  sink.mappings
 *     write_lua.c      Lua's texts, names and comments
 */
#pragma once
#include "base/buf.h"
#include "init/plan.h"
#include "init/write.h"

enum { WRITE_WIDTH = 100 }; /* columns that a line should not pass */

/* "text"; 'with "quotes"'; what would end the text or the line is escaped. */
void write_string(struct buf *b, const char *text);
/* name, or ["any name"], as the key of a table. */
void write_key(struct buf *b, const char *name);
/* How many columns write_key takes. */
size_t write_key_width(const char *name);
/* key = , with spaces before the = up to `width`. */
void write_field(struct buf *b, size_t indent, const char *name, size_t width);
void write_indent(struct buf *b, size_t n);
/* A text as one line of a comment, cut if it is long. */
void write_comment(struct buf *b, const char *text);
/* In [[ ]], or with as many = between as the text needs. The text begins on the next line. */
void write_long(struct buf *b, const char *text, size_t indent_of_end);
/* "id", or { "a", "b" } */
void write_columns(struct buf *b, const struct catalog_table *t, const struct catalog_columns *c);

/* The query, from its SELECT on, without a semicolon. */
void write_query(struct plan *p, struct buf *b, size_t indent);
/* The fields of mappings.properties. */
void write_properties(struct plan *p, struct buf *b, size_t indent);
size_t write_count_fields(const struct plan_node *n);
/* Whether a mapping uses the local `text`. */
bool write_has_text(const struct plan_node *n);
