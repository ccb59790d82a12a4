/* Whatever answers a bulk request: each item is still there, or was counted, once. */
#include "base/buf.h"
#include "base/err.h"
#include "fuzz.h"
#include "index/bulk.h"
#include "model/counts.h"

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
        buf_adds(bulk_body(b), "{}");
        CLAIM(bulk_commit(b, e));
    }
    CLAIM(bulk_delete(b, "4", 5, e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct counts sums = {0};
    struct err e = {0};
    size_t told = 0;
    struct bulk *b = bulk_new(1 << 16, &e);
    CLAIM(b);
    fill(b, &e);
    struct bulk_sink sink = {.counts = &sums, .rejected = count, .arg = &told, .issued = 7};
    bool ok = bulk_judge(b, (const char *)data, size, &sink, &e);
    CLAIM(ok == (bulk_count(b) == 0));
    CLAIM(ok || (e.kind != ERR_NONE && *e.text));
    CLAIM(bulk_count(b) + sums.indexed + sums.deleted + sums.superseded + sums.rejected +
              sums.dropped ==
          4);
    CLAIM(sums.rejected == told);
    CLAIM(strncmp(e.text, "4 items: damaged answer", 23) != 0 || bulk_count(b) == 4);
    bulk_free(b);
    return 0;
}
