#include "init/sqlname.h"

#include <string.h>

static bool is_plain(const struct catalog *c, const char *name)
{
    if (!*name || strchr("0123456789", *name) ||
        name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")])
        return false;
    for (size_t i = 0; i < c->n_keywords; i++)
        if (strcmp(c->keywords[i], name) == 0)
            return false;
    return true;
}

const char *sqlname(struct arena *a, const struct catalog *c, const char *name)
{
    if (is_plain(c, name))
        return name;
    char *quoted = arena_new(a, 2 * strlen(name) + 3, 1);
    size_t n = 0;
    if (!quoted)
        return "";
    quoted[n++] = '"';
    for (; *name; name++) {
        if (*name == '"')
            quoted[n++] = '"';
        quoted[n++] = *name;
    }
    quoted[n++] = '"';
    return quoted;
}

const char *sqlname_table(struct arena *a, const struct catalog *c, const struct catalog_table *t)
{
    const char *name = sqlname(a, c, t->name);
    if (t->visible && strcmp(t->schema, "public") == 0)
        return name;
    return arena_textf(a, "%s.%s", sqlname(a, c, t->schema), name);
}

const char *sqlname_columns(struct arena *a, const struct catalog *c, const struct catalog_table *t,
                            const struct catalog_columns *columns, const char *prefix)
{
    const char *text = "";
    for (size_t i = 0; i < columns->n; i++)
        text = arena_textf(a, "%s%s%s%s", text, i ? ", " : "", prefix,
                           sqlname(a, c, t->columns[columns->at[i]].name));
    return text;
}
