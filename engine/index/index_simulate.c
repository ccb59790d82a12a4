/* index_simulate: what the server would say of a new index: asked without making anything. */
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/json_tree.h"
#include "es/es.h"
#include "index/index.h"

#include <stdio.h>
#include <string.h>

enum { REQUEST_MAX = 64 << 20 };

static bool post(struct es *es, const char *path, struct buf *body, struct es_answer *a,
                 struct err *e)
{
    const char *text = buf_cstr(body);
    if (!text)
        return err_memory(e);
    struct es_call call = {.method = "POST", .path = path, .body = text, .len = body->len};
    return es_request(es, &call, a, e);
}

/* "index_template [simulate_template_x] invalid, cause [Validation Failed: 1: unknown setting [x]
 * please check that ...;2: ...]" */
static void shorten(char *reason)
{
    static const char BEGIN[] = "Validation Failed: 1: ";
    char *at = strstr(reason, BEGIN);
    if (!at)
        return;
    at += sizeof BEGIN - 1;
    char *end = strstr(at, " please check");
    end = end ? end : strstr(at, ";2: ");
    if (end)
        *end = '\0';
    memmove(reason, at, strlen(at) + 1);
}

/* The innermost cause, which is what the script has to change. */
static void read_cause(const struct es_answer *a, char *out, size_t size)
{
    struct json_tree t;
    struct err ignored;
    es_reason(a, out, size);
    if (!json_tree_read(&t, a->body.data, a->body.len, &ignored))
        return;
    size_t cause = json_tree_find(&t, 1, "error");
    for (size_t i = cause; i; i = json_tree_find(&t, i, "caused_by"))
        cause = i;
    struct json_tree_node *reason = &t.nodes[json_tree_find(&t, cause, "reason")];
    struct json_reader r;
    json_open(&r, reason->value.at ? reason->value.at : "", reason->value.len);
    if (json_next(&r) == JSON_STRING)
        snprintf(out, size, "%.*s", (int)r.len, r.text);
    json_close(&r);
    json_tree_free(&t);
    shorten(out);
}

/* A server before 7.9 takes the path for that of a document. */
static bool is_about_path(const struct es_answer *a)
{
    static const char *const types[] = {"invalid_index_name_exception",
                                        "invalid_type_name_exception"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (memmem(a->body.data, a->body.len, types[i], strlen(types[i])))
            return true;
    return false;
}

/* A pattern that no index has, and a priority that no other template has, so that no other template
 * matters. */
bool index_simulate(struct es *es, const char *settings, const char *mappings, struct err *e)
{
    struct es_answer a = {0};
    struct buf body;
    char reason[500];
    buf_init(&body, REQUEST_MAX);
    buf_addf(&body,
             "{\"index_patterns\":[\"etl-engine-check-of-a-script\"],\"priority\":1999999999,"
             "\"template\":{\"settings\":%s,\"mappings\":%s}}",
             settings ? settings : "{}", mappings ? mappings : "{}");
    bool ok = post(es, "/_index_template/_simulate", &body, &a, e);
    if (ok && a.status == 400 && es_is_own_error(&a) && !is_about_path(&a)) {
        read_cause(&a, reason, sizeof reason);
        ok = err_set(e, ERR_USAGE, "%s", reason);
    }
    buf_free(&body);
    es_answer_free(&a);
    return ok;
}
