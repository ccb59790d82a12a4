#include "init/naming.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { SHORT_NAME = 128 }; /* bytes; PostgreSQL's names have at most 63 */

static bool ends_in(const char *text, const char *end)
{
    size_t len = strlen(text), n = strlen(end);
    return len >= n && strcasecmp(text + len - n, end) == 0;
}

/* The name without its last n letters, and with `end` instead. */
static const char *change_end(struct arena *a, const char *name, size_t n, const char *end)
{
    return arena_textf(a, "%.*s%s", (int)(strlen(name) - n), name, end);
}

/* ---- one and many ---- */

static const char *const unchanged[] = {
    "staff", "news",    "data",  "info",   "series", "equipment", "information", "metadata",
    "media", "species", "stock", "people", "men",    "women",     "children"};

static bool is_unchanged(const char *name)
{
    for (size_t i = 0; i < sizeof unchanged / sizeof *unchanged; i++)
        if (ends_in(name, unchanged[i]))
            return true;
    return false;
}

/* "orders" is one already, "address" and "status" are not. */
static bool is_plural(const char *name)
{
    return ends_in(name, "s") && !ends_in(name, "ss") && !ends_in(name, "us") &&
           !ends_in(name, "is");
}

static bool has_vowel_before(const char *name, size_t n)
{
    size_t len = strlen(name);
    return len <= n || strchr("aeiouAEIOU", name[len - n - 1]);
}

const char *naming_plural(struct arena *a, const char *name)
{
    static const char *const hissing[] = {"s", "x", "z", "ch", "sh"};
    if (is_unchanged(name) || is_plural(name))
        return name;
    if (ends_in(name, "child"))
        return change_end(a, name, 0, "ren");
    if (ends_in(name, "sis"))
        return change_end(a, name, 2, "es");
    if (ends_in(name, "y") && !has_vowel_before(name, 1))
        return change_end(a, name, 1, "ies");
    for (size_t i = 0; i < sizeof hissing / sizeof *hissing; i++)
        if (ends_in(name, hissing[i]))
            return change_end(a, name, 0, "es");
    return change_end(a, name, 0, "s");
}

const char *naming_singular(struct arena *a, const char *name)
{
    static const char *const hissing[] = {"sses", "xes", "zzes", "ches", "shes", "uses"};
    if (ends_in(name, "children"))
        return change_end(a, name, 3, "");
    if (ends_in(name, "people"))
        return change_end(a, name, 5, "erson");
    if (is_unchanged(name) || !is_plural(name))
        return name;
    if (ends_in(name, "ies") && strlen(name) > 4)
        return change_end(a, name, 3, "y");
    for (size_t i = 0; i < sizeof hissing / sizeof *hissing; i++)
        if (ends_in(name, hissing[i]))
            return change_end(a, name, 2, "");
    return change_end(a, name, 1, "");
}

/* ---- what a reference is about ---- */

static const char *const reference_ends[] = {"id",  "code", "uuid", "guid",   "key", "fk",
                                             "ref", "no",   "num",  "number", "pk",  "oid"};

/* The length of what lies before the end; 0: it does not end so. *apart: by "_id" or "Id", and not
 * within a word. */
static size_t before_end(const char *column, const char *end, bool *apart)
{
    size_t len = strlen(column), n = strlen(end);
    if (len <= n || !ends_in(column, end))
        return 0;
    const char *at = column + len - n;
    if (at[-1] == '_' || at[-1] == ' ') {
        *apart = true;
        return len - n - 1;
    }
    *apart = isupper((unsigned char)at[0]) && islower((unsigned char)at[-1]);
    return len - n;
}

const char *naming_referred(struct arena *a, const char *column, const char *table)
{
    const char *one = naming_singular(a, table);
    for (size_t i = 0; i < sizeof reference_ends / sizeof *reference_ends; i++) {
        bool apart = false;
        size_t len = before_end(column, reference_ends[i], &apart);
        const char *rest = arena_textf(a, "%.*s", (int)len, column);
        if (len > 0 && (apart || ends_in(rest, one) || ends_in(rest, table)))
            return rest;
    }
    return NULL;
}

/* ---- aliases, fields, indexes ---- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Whether a word begins here. */
static bool begins_word(const char *name, size_t i)
{
    if (!is_letter(name[i]))
        return false;
    return i == 0 || !isalnum((unsigned char)name[i - 1]) ||
           (isupper((unsigned char)name[i]) && islower((unsigned char)name[i - 1]));
}

const char *naming_alias(struct arena *a, const char *table)
{
    char alias[8];
    size_t n = 0;
    for (size_t i = 0; table[i] && n < sizeof alias - 1; i++)
        if (begins_word(table, i))
            alias[n++] = (char)tolower((unsigned char)table[i]);
    alias[n] = '\0';
    return n ? arena_copy(a, alias) : "t";
}

const char *naming_field(struct arena *a, const char *name)
{
    char *field = arena_new(a, strlen(name) + sizeof "field", 1);
    size_t n = 0;
    if (!field)
        return "";
    for (const char *at = name + strspn(name, " _."); *at; at++)
        field[n++] = *at == '.' || (unsigned char)*at < ' ' ? '_' : *at;
    while (n > 0 && field[n - 1] == ' ')
        n--;
    field[n] = '\0';
    if (n == 0)
        memcpy(field, "field", sizeof "field");
    return field;
}

const char *naming_index(struct arena *a, const char *name)
{
    char index[SHORT_NAME];
    size_t n = 0;
    for (size_t i = 0; name[i] && n + 2 < sizeof index; i++) {
        bool apart = i > 0 && isupper((unsigned char)name[i]) && begins_word(name, i) &&
                     islower((unsigned char)name[i - 1]);
        if (apart)
            index[n++] = '_';
        if (isalnum((unsigned char)name[i]))
            index[n++] = (char)tolower((unsigned char)name[i]);
        else if (n > 0 && index[n - 1] != '_')
            index[n++] = '_';
    }
    while (n > 0 && index[n - 1] == '_')
        n--;
    index[n] = '\0';
    return n ? arena_copy(a, index) : "documents";
}

const char *naming_words(struct arena *a, const char *name)
{
    char words[SHORT_NAME];
    size_t n = 0;
    for (size_t i = 0; name[i] && n + 2 < sizeof words; i++) {
        bool apart = i > 0 && isupper((unsigned char)name[i]) && begins_word(name, i);
        if (apart && n > 0 && words[n - 1] != ' ')
            words[n++] = ' ';
        unsigned char c = (unsigned char)name[i];
        words[n++] = c == '_' || c < ' ' ? ' ' : (char)tolower(c);
    }
    words[n] = '\0';
    return arena_copy(a, words);
}
