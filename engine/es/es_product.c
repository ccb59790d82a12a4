#include "es/es_product.h"

#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "es/es.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct root { /* {"version":{"number":"..","distribution":".."},"tagline":".."} */
    char number[sizeof((struct es_product *)0)->version], distribution[40], tagline[100];
};

static bool read_version(struct json_reader *r, struct root *root)
{
    if (json_next(r) != JSON_OBJECT)
        return false;
    while (json_next(r) == JSON_KEY) {
        bool ok = json_is(r, "number") ? json_next_beginning(r, root->number, sizeof root->number)
                  : json_is(r, "distribution")
                      ? json_next_beginning(r, root->distribution, sizeof root->distribution)
                      : json_skip(r);
        if (!ok)
            return false;
    }
    return r->token == JSON_OBJECT_END;
}

static void read_root(const struct es_answer *a, struct root *root)
{
    struct json_reader r;
    json_open_loose(&r, a->body.data, a->body.len);
    bool ok = a->body.len > 0 && json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY)
        ok = json_is(&r, "version")   ? read_version(&r, root)
             : json_is(&r, "tagline") ? json_next_beginning(&r, root->tagline, sizeof root->tagline)
                                      : json_skip(&r);
    json_close(&r);
}

/* OpenSearch may call itself 7.10.2 for old clients, without a distribution: its tagline stays. */
void es_product_read(const struct es_answer *a, struct es_product *p)
{
    struct root root = {0};
    *p = (struct es_product){0};
    read_root(a, &root);
    if (strcmp(root.distribution, "opensearch") == 0 || strstr(root.tagline, "OpenSearch"))
        p->program = ES_OPENSEARCH;
    else if (a->elastic || strcmp(root.tagline, "You Know, for Search") == 0)
        p->program = ES_ELASTICSEARCH;
    memcpy(p->version, root.number, sizeof p->version);
    long major = strtol(root.number, NULL, 10);
    p->major = major > 0 && major < 1000 ? (int)major : 0;
}

static bool judge(struct es *es, const struct es_answer *a, struct err *e)
{
    struct es_product p;
    char words[100];
    if (a->status != 200)
        return true;
    es_product_read(a, &p);
    const char *name = p.program == ES_OPENSEARCH ? "OpenSearch" : "Elasticsearch";
    if (p.program == ES_OTHER) {
        if (a->body.len > 0 && a->body.data[0] == '{')
            snprintf(words, sizeof words, "%.*s", a->body.len < 90 ? (int)a->body.len : 90,
                     a->body.data);
        else
            es_words(a, words, sizeof words);
        log_warn_with(LOG_FIELDS(log_text("node", es_node(es))),
                      "the server at %s is neither Elasticsearch nor OpenSearch, as far as it "
                      "says: %s",
                      es_node(es), words);
    } else if (p.program == ES_ELASTICSEARCH && p.major > 0 && p.major < ES_OLDEST) {
        return err_set(e, ERR_FINAL,
                       "cannot use the server at %s: it is Elasticsearch %s, and version %d or "
                       "later is required",
                       es_node(es), p.version, ES_OLDEST);
    } else {
        log_debug_with(LOG_FIELDS(log_text("node", es_node(es))), "the server at %s is %s %s",
                       es_node(es), name, p.version);
    }
    return true;
}

bool es_product_check(struct es *es, struct err *e)
{
    struct es_answer a = {0};
    bool ok =
        es_request(es, &(struct es_call){.method = "GET", .path = "/"}, &a, e) && judge(es, &a, e);
    es_answer_free(&a);
    return ok;
}
