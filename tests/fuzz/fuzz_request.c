/* A line of the other process is refused, or read; what was read reads the same once it has been
 * written.
 */
#include "base/buf.h"
#include "base/err.h"
#include "fuzz.h"
#include "store/request.h"

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void compare(const struct request_message *a, const struct request_message *b)
{
    CLAIM(a->type == b->type && a->ask == b->ask && a->error == b->error && a->pid == b->pid);
    CLAIM(same_text(a->pipeline, b->pipeline) && same_text(a->text, b->text));
    for (size_t i = 0; a->type == REQUEST_KEYS && i < a->keys.n; i++)
        CLAIM(a->keys.n == b->keys.n && strcmp(a->keys.keys[i], b->keys.keys[i]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request_message m = {0}, again = {0};
    struct err e = {0};
    struct buf b;
    if (!request_read(&m, (const char *)data, size, &e)) {
        CLAIM(e.kind == ERR_FINAL && *e.text && !m.pipeline && m.keys.n == 0);
        return 0;
    }
    CLAIM(m.type >= 0 && m.type < REQUEST_TYPES && m.ask >= 0 && m.ask < REQUEST_ASKS);
    CLAIM(m.keys.n <= REQUEST_PAGE_KEYS);
    buf_init(&b, 64 << 20);
    CLAIM(request_write(&b, &m) && b.data[b.len - 1] == '\n');
    CLAIM(memchr(b.data, '\n', b.len) == b.data + b.len - 1);
    CLAIM(request_read(&again, b.data, b.len - 1, &e));
    compare(&m, &again);
    request_message_free(&m);
    request_message_free(&again);
    buf_free(&b);
    return 0;
}
