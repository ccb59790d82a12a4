#include "base/suggest.h"

#include <string.h>

enum { LONGEST = 32 }; /* letters; the known names are shorter */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: an insertion, a deletion, a change and a swap of neighbours count one
 * each. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t d[LONGEST + 1][LONGEST + 1];
    for (size_t i = 0; i <= a_len; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= b_len; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= a_len; i++)
        for (size_t j = 1; j <= b_len; j++) {
            d[i][j] = least(d[i - 1][j], d[i][j - 1]) + 1;
            d[i][j] = least(d[i][j], d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[a_len][b_len];
}

const char *suggest(const char *name, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_distance = 3, len = strlen(name);
    if (len > LONGEST)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t known = strlen(names[i]);
        if (known > LONGEST)
            continue;
        size_t d = distance(name, len, names[i], known);
        if (d < best_distance && d * 2 <= len) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}
