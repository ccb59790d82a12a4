/* Whatever answers a bulk request: each item is still there, or was counted, once. */
#include "base/err.h"
#include "fuzz.h"
#include "index/bulk.h"

static void count(const char *key, int status, const char *reason, void *arg)
{
    (void)status;
    CLAIM(*key && *reason);
    ++*(size_t *)arg;
}

static void fill(struct bulk *b, struct err *e)
{
    static const char *const keys[] = {"1", "a\"b", "\xD0\xB6"};
    for (size_t i = 0; i < 3; i++) {
        bulk_begin(b, keys[i], 5);
        buf_adds(&b->body, "{}");
        CLAIM(bulk_commit(b, e));
    }
    CLAIM(bulk_delete(b, "4", 5, e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bulk b;
    struct counts sums = {0};
    struct err e = {0};
    size_t told = 0;
    bulk_init(&b, 1 << 16);
    fill(&b, &e);
    bool ok = bulk_judge(&b, (const char *)data, size, 7, &sums, count, &told, &e);
    CLAIM(ok == (b.n == 0));
    CLAIM(ok || (e.kind != ERR_NONE && *e.text));
    CLAIM(b.n + sums.indexed + sums.deleted + sums.superseded + sums.rejected == 4);
    CLAIM(sums.rejected == told);
    CLAIM(strncmp(e.text, "4 items: damaged answer", 23) != 0 || b.n == 4);
    bulk_free(&b);
    return 0;
}
