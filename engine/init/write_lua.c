/* write_lua: Lua's texts, names and comments. */
#include "init/write_internal.h"

#include <stdio.h>
#include <string.h>

enum { COMMENT_MAX = 90 }; /* bytes of a comment from the database */

void write_indent(struct buf *b, size_t n)
{
    buf_addf(b, "%*s", (int)n, "");
}

void write_string(struct buf *b, const char *text)
{
    char quote = strchr(text, '"') && !strchr(text, '\'') ? '\'' : '"';
    buf_addc(b, quote);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == (unsigned char)quote || c == '\\')
            buf_addf(b, "\\%c", c);
        else if (c < ' ' || c == 127)
            buf_addf(b, "\\%03d", c);
        else
            buf_addc(b, (char)c);
    }
    buf_addc(b, quote);
}

static bool is_identifier(const char *name)
{
    static const char *const words[] = {"and",   "break", "do",       "else",  "elseif", "end",
                                        "false", "for",   "function", "goto",  "if",     "in",
                                        "local", "nil",   "not",      "or",    "repeat", "return",
                                        "then",  "true",  "until",    "while", NULL};
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    for (const char *const *w = words; *w; w++)
        if (strcmp(*w, name) == 0)
            return false;
    return *name && !strchr("0123456789", *name) && !name[strspn(name, letters)];
}

void write_key(struct buf *b, const char *name)
{
    if (is_identifier(name)) {
        buf_adds(b, name);
        return;
    }
    buf_addc(b, '[');
    write_string(b, name);
    buf_addc(b, ']');
}

size_t write_key_width(const char *name)
{
    struct buf b;
    buf_init(&b, 4096);
    write_key(&b, name);
    size_t width = 0;
    for (size_t i = 0; i < b.len; i++)
        width += ((unsigned char)b.data[i] & 0xc0) != 0x80;
    buf_free(&b);
    return width;
}

void write_field(struct buf *b, size_t indent, const char *name, size_t width)
{
    size_t own = write_key_width(name);
    write_indent(b, indent);
    write_key(b, name);
    write_indent(b, own < width ? width - own : 0);
    buf_adds(b, " = ");
}

void write_comment(struct buf *b, const char *text)
{
    size_t len = strlen(text), cut = len;
    if (cut > COMMENT_MAX) /* not in the middle of a character of UTF-8 */
        for (cut = COMMENT_MAX; cut > 0 && ((unsigned char)text[cut] & 0xc0) == 0x80; cut--)
            ;
    for (size_t i = 0; i < cut; i++)
        buf_addc(b, (unsigned char)text[i] < ' ' || text[i] == 127 ? ' ' : text[i]);
    buf_adds(b, cut < len ? "..." : "");
}

/* "]", n times "=", "]" */
static bool has_end(const char *text, int n)
{
    char end[40];
    snprintf(end, sizeof end, "]%.*s]", n, "==============================");
    return strstr(text, end) != NULL;
}

void write_long(struct buf *b, const char *text, size_t indent_of_end)
{
    int n = 0;
    while (n < 30 && has_end(text, n))
        n++;
    if (n == 30 || strchr(text, '\r')) { /* Lua would make another line end of it */
        write_string(b, text);
        return;
    }
    buf_addf(b, "[%.*s[\n%s\n", n, "==============================", text);
    write_indent(b, indent_of_end);
    buf_addf(b, "]%.*s]", n, "==============================");
}

void write_columns(struct buf *b, const struct catalog_table *t, const struct catalog_columns *c)
{
    if (c->n == 1) {
        write_string(b, t->columns[c->at[0]].name);
        return;
    }
    for (size_t i = 0; i < c->n; i++) {
        buf_adds(b, i ? ", " : "{ ");
        write_string(b, t->columns[c->at[i]].name);
    }
    buf_adds(b, " }");
}
