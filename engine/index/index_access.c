/* index_access: what stands between a user and an index: privileges and blocks; asked without
 * changing anything. */
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/json_tree.h"
#include "es/es.h"
#include "index/index.h"

#include <stdio.h>
#include <string.h>

enum { REQUEST_MAX = 1 << 16 };

/* ---- privileges ---- */

/* Appends to a list, "write, create_index": what it does not have yet, if there is room. */
static void list_once(char *list, size_t size, const char *word, size_t n)
{
    size_t len = strlen(list);
    const char *at = n > 0 ? memmem(list, len, word, n) : list;
    bool known = at && (at[n] == ',' || at[n] == '\0');
    if (!known && len + n + 3 <= size)
        snprintf(list + len, size - len, "%s%.*s", len ? ", " : "", (int)n, word);
}

static void list_missing(const struct json_tree *t, char *out, size_t size)
{
    size_t indexes = json_tree_find(t, 1, "index");
    for (size_t i = json_tree_first(t, indexes); i; i = t->nodes[i].next)
        for (size_t k = json_tree_first(t, i); k; k = t->nodes[k].next)
            if (t->nodes[k].kind == JSON_FALSE)
                list_once(out, size, t->nodes[k].name.at + 1, t->nodes[k].name.len - 2);
}

/* Elasticsearch tells, of patterns, too. *told: it has. */
static bool ask_privileges(struct es *es, const struct index_use *use, struct index_privileges *out,
                           bool *told, struct err *e)
{
    struct es_answer a = {0};
    struct json_tree t = {0};
    struct buf body;
    buf_init(&body, REQUEST_MAX);
    buf_adds(&body, "{\"index\":[{\"names\":[");
    bool ok = json_add_string(&body, use->index, strlen(use->index)) ||
              err_set(e, ERR_FINAL, "invalid index name");
    buf_addf(&body, "],\"privileges\":[\"view_index_metadata\",\"read\",\"write\"%s%s]}]}",
             use->creates ? ",\"create_index\"" : "", use->refreshes ? ",\"maintenance\"" : "");
    const char *text = buf_cstr(&body);
    const struct es_call call = {
        .method = "POST", .path = "/_security/user/_has_privileges", .body = text, .len = body.len};
    ok = ok && (text || err_memory(e)) && es_request(es, &call, &a, e);
    *told = ok && a.status == 200 && json_tree_read(&t, a.body.data, a.body.len, e);
    if (*told)
        list_missing(&t, out->missing, sizeof out->missing);
    json_tree_free(&t);
    buf_free(&body);
    es_answer_free(&a);
    return ok;
}

/* No index can have this name, since it has capital letters; so no request can create it. */
#define NOBODYS "ETL-Engine-check"

/* OpenSearch does not tell, but looks at privileges before anything else: a request that cannot
 * succeed is refused with 403 if one is missing, and otherwise with 400, 404 or 409. */
static const struct probe {
    const char *method, *rest, *body;
    bool creates, refreshes; /* of those that create or refresh an index alone */
} probes[] = {
    {"GET", "/_settings/index.uuid?flat_settings=true", NULL, false, false},
    {"GET", "/_mapping?ignore_unavailable=false", NULL, false, false},
    {"GET", "?flat_settings=true", NULL, false, false},
    {"POST", "/_count?filter_path=count", "{\"query\":{\"match_none\":{}}}", false, false},
    {"POST", "/_mget?_source=false", "{\"ids\":[\"" NOBODYS "\"]}", false, false},
    /* of a number that no change has yet, and so never of a document; it creates no index */
    {"DELETE", "/_doc/" NOBODYS "?if_seq_no=9007199254740991&if_primary_term=1", NULL, false,
     false},
    {"POST", "/_refresh", NULL, false, true},
    {"PUT", "", "{\"settings\":{\"index.number_of_shards\":0}}", true, false}, /* at least 1 */
};

/* "no permissions for [indices:data/write/bulk[s]] and User [...": the action. */
static void list_denied(const struct es_answer *a, struct index_privileges *out)
{
    static const char BEFORE[] = "no permissions for [";
    static const char *const of_cluster[] = {"indices:data/write/bulk", "indices:data/read/mget"};
    char reason[300];
    es_reason(a, reason, sizeof reason);
    const char *at = a->status == 403 ? strstr(reason, BEFORE) : NULL;
    const char *end = at ? strstr(at, "] and ") : NULL;
    if (!end)
        return;
    at += sizeof BEFORE - 1;
    bool cluster = false;
    for (size_t i = 0; i < sizeof of_cluster / sizeof *of_cluster; i++)
        cluster = cluster || (strlen(of_cluster[i]) == (size_t)(end - at) &&
                              strncmp(at, of_cluster[i], (size_t)(end - at)) == 0);
    list_once(cluster ? out->cluster : out->missing,
              cluster ? sizeof out->cluster : sizeof out->missing, at, (size_t)(end - at));
}

static bool send_probe(struct es *es, const char *index, const struct probe *p,
                       struct index_privileges *out, struct err *e)
{
    struct es_answer a = {0};
    struct buf body;
    buf_init(&body, REQUEST_MAX);
    buf_adds(&body, p->body ? p->body : "");
    bool ok = index_ask(
        es, &(struct index_request){p->method, index, p->rest, p->body ? &body : NULL}, &a, e);
    if (ok)
        list_denied(&a, out);
    buf_free(&body);
    es_answer_free(&a);
    return ok;
}

/* The name of an index that does not exist, but that the pattern has. */
static bool make_name(const char *pattern, struct buf *out, struct err *e)
{
    buf_init(out, INDEX_NAME * 4);
    for (const char *c = pattern; *c; c++)
        if (*c == '*')
            buf_adds(out, NOBODYS);
        else
            buf_addc(out, *c);
    return buf_cstr(out) || err_memory(e);
}

static bool probe_privileges(struct es *es, const struct index_use *use,
                             struct index_privileges *out, struct err *e)
{
    struct buf name;
    bool ok = make_name(use->index, &name, e);
    for (size_t i = 0; ok && i < sizeof probes / sizeof *probes; i++)
        if ((use->creates || !probes[i].creates) && (use->refreshes || !probes[i].refreshes))
            ok = send_probe(es, buf_cstr(&name), &probes[i], out, e);
    buf_free(&name);
    return ok;
}

bool index_missing_privileges(struct es *es, const struct index_use *use,
                              struct index_privileges *out, struct err *e)
{
    bool told;
    *out = (struct index_privileges){0};
    return ask_privileges(es, use, out, &told, e) && (told || probe_privileges(es, use, out, e));
}

/* ---- blocks ---- */

static bool is_block(const struct json_tree *t, size_t setting)
{
    static const char BEGIN[] = "\"index.blocks.";
    const struct json_tree_text *name = &t->nodes[setting].name;
    return name->len > sizeof BEGIN && memcmp(name->at, BEGIN, sizeof BEGIN - 1) == 0 &&
           json_tree_is(t, setting, "true");
}

/* Notes an index that is closed, or has a block. */
static void read_block(const struct json_tree *t, size_t index, struct index_block *out)
{
    size_t settings = json_tree_find(t, index, "settings");
    const struct json_tree_text *name = &t->nodes[index].name, *found = NULL;
    bool closed =
        json_tree_is(t, json_tree_find(t, settings, "index.verified_before_close"), "true");
    for (size_t i = json_tree_first(t, settings); i && !found; i = t->nodes[i].next)
        if (is_block(t, i))
            found = &t->nodes[i].name;
    if ((!closed && !found) || out->n++ > 0)
        return;
    snprintf(out->index, sizeof out->index, "%.*s", (int)name->len - 2, name->at + 1);
    if (!closed)
        snprintf(out->setting, sizeof out->setting, "%.*s", (int)found->len - 2, found->at + 1);
}

bool index_find_block(struct es *es, const char *indices, struct index_block *out, struct err *e)
{
    struct es_answer a = {0};
    struct json_tree t = {0};
    const struct index_request r = {
        "GET", indices,
        "/_settings/index.blocks.*,index.verified_before_close?flat_settings=true"
        "&ignore_unavailable=true",
        NULL};
    *out = (struct index_block){0};
    bool ok =
        index_ask(es, &r, &a, e) &&
        (a.status == 404 || (es_check(&a, e) && json_tree_read(&t, a.body.data, a.body.len, e)));
    for (size_t i = ok && a.status == 200 ? json_tree_first(&t, 1) : 0; i; i = t.nodes[i].next)
        read_block(&t, i, out);
    json_tree_free(&t);
    es_answer_free(&a);
    return ok;
}
