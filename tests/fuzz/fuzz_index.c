/* Whatever the search server answers to questions about an index and its documents. The input is a
 * row of answers, 0xFF between them; one that begins with "4" is a 404. */
#include "base/buf.h"
#include "base/err.h"
#include "es/es.h"
#include "fuzz.h"
#include "index/index.h"

static const char *at, *end;

/* In place of es.c. */
bool es_request(struct es *es, const struct es_call *c, struct es_answer *a, struct err *e)
{
    (void)es, (void)c;
    if (at == end)
        return err_set(e, ERR_FINAL, "no answer");
    const char *stop = memchr(at, 0xFF, (size_t)(end - at));
    size_t n = (size_t)((stop ? stop : end) - at);
    if (a->body.max == 0)
        buf_init(&a->body, 1 << 20);
    buf_clear(&a->body);
    a->status = *at == '4' ? 404 : 200;
    buf_add(&a->body, at, n);
    at = stop ? stop + 1 : end;
    return true;
}

void es_add_escaped(struct buf *b, const char *text)
{
    buf_adds(b, text);
}

bool es_unknown(const struct es *es, const struct es_answer *a, bool first_contact, struct err *e)
{
    (void)es, (void)a;
    return err_set(e, first_contact ? ERR_FINAL : ERR_PASSING, "an unknown answer");
}

static const char *const keys[] = {"1", "a\"b"};

static bool visit(const struct index_document *d, void *arg, struct err *e)
{
    (void)e;
    size_t *seen = arg;
    CLAIM(*seen < 2 && strcmp(d->key, keys[*seen]) == 0);
    CLAIM(!d->source || (d->found && d->source[0] == '{' && d->source[d->source_len - 1] == '}'));
    ++*seen;
    return true;
}

static bool visit_copy(const struct index_copy *c, void *arg, struct err *e)
{
    (void)e;
    ++*(size_t *)arg;
    CLAIM(strlen(c->key) + strlen(c->index) + (c->routing ? strlen(c->routing) : 0) < 3072 &&
          c->version >= 0);
    return true;
}

static void walk(struct err *e)
{
    struct index_scan *s = index_scan_open(NULL, "x", "a.b", keys, 2, e);
    const char *const *found;
    size_t n = 1;
    while (s && n > 0 && index_scan_next(s, &found, &n, e))
        for (size_t i = 0; i < n; i++)
            CLAIM(strlen(found[i]) < 1 << 20);
    index_scan_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct index_info info;
    struct err e = {0};
    int64_t n = -1;
    size_t seen = 0;
    if (size == 0)
        return 0;
    at = (const char *)data + 1;
    end = (const char *)data + size;
    switch (data[0]) {
    case 'l':
        CLAIM(index_get_info(NULL, "x", &info, &e) || *e.text);
        break;
    case 'i': {
        struct buf list;
        buf_init(&list, 1 << 20);
        CLAIM(index_list(NULL, "x*", &list, &e) || *e.text);
        buf_free(&list);
        break;
    }
    case 'c':
        CLAIM(index_count(NULL, "x", &n, &e) ? n >= 0 : n == -1);
        break;
    case 'g':
        CLAIM(index_get_documents(
                  NULL, "x",
                  &(struct index_lookup){
                      .keys = keys, .n = 2, .with_source = true, .visit = visit, .arg = &seen},
                  &e) == (seen == 2));
        break;
    case 'f':
        CLAIM(index_find(NULL, "x*", &(struct index_search){keys, 2, visit_copy, &seen}, &e) ||
              seen == 0);
        break;
    case 'n':
        CLAIM(index_create(NULL, "x", NULL, NULL, &e) || *e.text);
        break;
    default:
        walk(&e);
    }
    return 0;
}
