#include "script/query_columns.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

static bool is_letter(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

/* Whether the word at `at` is the column's name; SQL folds a word without quotes to lower case. */
static bool is_word(const char *at, size_t len, const char *column)
{
    if (strlen(column) != len)
        return false;
    if (memcmp(at, column, len) == 0)
        return true;
    for (size_t i = 0; i < len; i++)
        if (tolower((unsigned char)at[i]) != column[i])
            return false;
    return true;
}

static bool has_word(const char *query, const char *column)
{
    for (const char *p = query; *p;) {
        size_t len = 0;
        while (is_letter(p[len]))
            len++;
        if (len > 0 && is_word(p, len, column))
            return true;
        p += len > 0 ? len : 1;
    }
    return false;
}

/* Whether the identifier that begins after a quote is the column's name; a quote within it is
 * doubled. *end: its closing quote, or the end of the text. */
static bool is_quoted(const char *at, const char *column, const char **end)
{
    bool same = true;
    for (; *at && (*at != '"' || at[1] == '"'); at++) {
        at += *at == '"';
        same = same && *column == *at;
        column += same;
    }
    *end = at;
    return same && !*column;
}

static bool has_quoted(const char *query, const char *column)
{
    for (const char *p = strchr(query, '"'); p; p = *p ? strchr(p + 1, '"') : NULL)
        if (is_quoted(p + 1, column, &p))
            return true;
    return false;
}

static bool follows(const char *begin, const char *at, const char *word)
{
    size_t len = strlen(word);
    while (at > begin && isspace((unsigned char)at[-1]))
        at--;
    return (size_t)(at - begin) >= len && strncasecmp(at - len, word, len) == 0 &&
           ((size_t)(at - begin) == len || !is_letter(at[-(ptrdiff_t)len - 1]) ||
            !is_letter(word[0]));
}

/* Whether it stands for columns: SELECT *, f.* or a, *; neither count(*) nor a * b. */
static bool is_star(const char *query, const char *at)
{
    const char *next = at + 1 + strspn(at + 1, " \t\r\n");
    if (follows(query, at, "("))
        return false;
    return follows(query, at, ".") || follows(query, at, ",") || follows(query, at, "select") ||
           follows(query, at, "distinct") || follows(query, at, "all") ||
           strchr(",)", *next) != NULL || strncasecmp(next, "from", 4) == 0;
}

bool query_may_have_column(const char *query, const char *column)
{
    if (has_word(query, column) || has_quoted(query, column) || has_word(query, "table"))
        return true;
    for (const char *p = strchr(query, '*'); p; p = strchr(p + 1, '*'))
        if (is_star(query, p))
            return true;
    return false;
}
