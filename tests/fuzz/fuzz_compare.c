/* Any two texts are compared; a text is the same as itself; the other way round the same number of
 * differences is found. The input is the first text, a line break, and the second one. */
#include "ask/compare.h"
#include "base/err.h"
#include "fuzz.h"

static void count(const struct compare_difference *d, void *arg)
{
    size_t *n = arg;
    ++*n;
    CLAIM(d->path && d->field && (d->before.at || d->after.at));
}

static size_t differences(struct json_tree_text a, struct json_tree_text b)
{
    struct err e;
    size_t n = 0;
    bool same;
    CLAIM(compare_documents(&(struct compare_documents){a, b, count, &n}, &same, &e));
    CLAIM(same == (n == 0));
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *line = size ? memchr(text, '\n', size) : NULL;
    size_t first = line ? (size_t)(line - text) : size;
    struct json_tree_text a = {text, first};
    struct json_tree_text b = {line ? line + 1 : text + size, line ? size - first - 1 : 0};
    CLAIM(differences(a, a) == 0);
    CLAIM(differences(a, b) == differences(b, a));
    return 0;
}
