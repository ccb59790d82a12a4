#include "es/es_answer.h"

#include "base/err.h"
#include "base/json.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

enum { REASON = 300 }; /* bytes of a server's reason that a message has room for */

/* ---- what the server says ---- */

void es_answer_free(struct es_answer *a)
{
    buf_free(&a->body);
    *a = (struct es_answer){0};
}

/* Copies text as one line into out, cut at a character. A server that could not parse a request may
 * quote it, including headers and credentials (Elasticsearch 7.10 does, in "[Source: (byte[])..."):
 * the copy ends before such a quotation. */
static void copy_words(char *out, size_t size, const char *text, size_t len)
{
    const char *source = memmem(text, len, "[Source:", 8);
    if (source)
        len = (size_t)(source - text);
    const char *header = memmem(text, len, "uthorization:", 13);
    if (header)
        len = (size_t)(header - text);
    if (len > size - 1) {
        len = size - 1;
        while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
            len--;
    }
    for (size_t i = 0; i < len; i++)
        out[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7F ? ' ' : text[i];
    out[text_open_end(out, len)] = '\0';
}

/* Reads the value of one member of an error object, whose name was the last token. depth 1 is the
 * error itself, deeper ones are its causes: the innermost is kept. */
static bool read_error_member(struct json_reader *r, int depth, char *cause_type, size_t size,
                              struct es_error *out)
{
    bool is_type = json_is(r, "type"), is_reason = json_is(r, "reason");
    if (!is_type && !is_reason)
        return json_skip(r);
    enum json_token t = json_next(r);
    if (t != JSON_STRING)
        return t == JSON_NULL;
    if (depth == 1 && is_type)
        copy_words(out->type, sizeof out->type, r->text, r->len);
    else if (depth == 1)
        copy_words(out->reason, sizeof out->reason, r->text, r->len);
    else if (is_type)
        copy_words(cause_type, size, r->text, r->len);
    if (depth > 1 && is_reason) {
        char reason[180];
        copy_words(reason, sizeof reason, r->text, r->len);
        snprintf(out->cause, sizeof out->cause, "%s%s%s", cause_type, cause_type[0] ? ": " : "",
                 reason);
    }
    return true;
}

struct root_cause {
    char type[100], reason[180];
};

static bool read_words(struct json_reader *r, char *out, size_t size)
{
    enum json_token t = json_next(r);
    if (t == JSON_STRING)
        copy_words(out, size, r->text, r->len);
    return t == JSON_STRING || t == JSON_NULL;
}

/* Reads [{"type":"..","reason":".."},...]: the last one's. */
static bool read_root_causes(struct json_reader *r, struct root_cause *c)
{
    if (json_next(r) != JSON_ARRAY)
        return false;
    while (json_next(r) == JSON_OBJECT) {
        while (json_next(r) == JSON_KEY) {
            bool ok = json_is(r, "type")     ? read_words(r, c->type, sizeof c->type)
                      : json_is(r, "reason") ? read_words(r, c->reason, sizeof c->reason)
                                             : json_skip(r);
            if (!ok)
                return false;
        }
        if (r->token != JSON_OBJECT_END)
            return false;
    }
    return r->token == JSON_ARRAY_END;
}

/* A search that failed on all shards says only in root_cause why. */
static void take_root_cause(const struct root_cause *c, struct es_error *out)
{
    if (out->cause[0] || strcmp(c->type, out->type) == 0 || !c->reason[0])
        return;
    snprintf(out->cause, sizeof out->cause, "%s%s%s", c->type, c->type[0] ? ": " : "", c->reason);
}

/* Reads the rest of an error object whose brace was the last token. Not recursive: depth counts the
 * causes that are open. */
static bool read_error_object(struct json_reader *r, struct es_error *out)
{
    char cause_type[sizeof out->type] = "";
    struct root_cause root = {0};
    for (int depth = 1; depth > 0;) {
        enum json_token t = json_next(r);
        if (t == JSON_OBJECT_END) {
            depth--;
        } else if (t != JSON_KEY) {
            return false;
        } else if (depth == 1 && json_is(r, "root_cause")) {
            if (!read_root_causes(r, &root))
                return false;
        } else if (!json_is(r, "caused_by")) {
            if (!read_error_member(r, depth, cause_type, sizeof cause_type, out))
                return false;
        } else if ((t = json_next(r)) == JSON_OBJECT) {
            depth++;
            cause_type[0] = '\0';
        } else if (t != JSON_NULL) {
            return false;
        }
    }
    take_root_cause(&root, out);
    return true;
}

bool es_read_error(struct json_reader *r, struct es_error *out)
{
    *out = (struct es_error){0};
    switch (json_next(r)) {
    case JSON_STRING:
        copy_words(out->reason, sizeof out->reason, r->text, r->len);
        return true;
    case JSON_OBJECT:
        return read_error_object(r, out);
    default:
        return false;
    }
}

void es_error_text(const struct es_error *error, char *out, size_t size)
{
    char text[sizeof *error + 40];
    int n = snprintf(text, sizeof text, "%s%s%s", error->type,
                     error->type[0] && error->reason[0] ? ": " : "", error->reason);
    /* The cause says more: a long reason is cut in its favour. */
    char cause[sizeof error->cause + 20] = "";
    const char *why = strstr(error->cause, ": ");
    /* "Failed to parse mapping: WHY", because of WHY */
    bool again = why && strstr(error->reason, why + 2);
    if (error->cause[0] && !again)
        snprintf(cause, sizeof cause, " (caused by %s)", error->cause);
    size_t tail = strlen(cause) < size / 2 ? strlen(cause) : size / 2;
    copy_words(out, size - tail, text, (size_t)n);
    size_t len = strlen(out);
    copy_words(out + len, size - len, cause, strlen(cause));
}

/* ---- what it means ---- */

/* replaced by the request's own privilege if it is known */
static const char FORBIDDEN[] = "the user needs more privileges";

static const char NO_PIPELINE[] = "create it (PUT /_ingest/pipeline/NAME), or take it from the "
                                  "index (index.default_pipeline, index.final_pipeline)";
static const char CYCLE[] = "an ingest pipeline must not call itself, nor one that calls it";
static const char VERSION_TYPE[] = "an ingest pipeline must not change _version_type";

#define BLOCK(name) "it continues once the block is removed (\"index.blocks." name "\": null)"

enum { ANY = ES_WHOLE | ES_DOCUMENTS | ES_ITEM, REQUEST = ES_WHOLE | ES_DOCUMENTS };

/* The first row that matches decides; NULL matches anything. What no row matches is a damaged
 * answer: an item's 2xx with an error, a status below 200. Ignored on purpose:
 *
 *   _index of an item   with an error; bulk.c compares that of others, and their _version and
 *                       result
 *   _shards.failed      the primary has written the document, or else the item had an error; the
 *                       cluster repairs a failed replica from the primary, and sending again would
 *                       not help
 */
static const struct es_rule rules[] = {
    /* ---- the disk is nearly full; the server removes the block itself ---- */
    {ANY, 400, 429, "cluster_block_exception", "/12/", ES_AGAIN,
     "free disk space on the server's data nodes: it then removes the block itself"},
    /* OpenSearch: on all of its nodes */
    {ANY, 403, 429, "index_create_block_exception", NULL, ES_AGAIN, NULL},

    /* ---- somebody has blocked or closed the index for a while: to copy or to shrink it ---- */
    {ANY, 403, 403, "cluster_block_exception", "/5/", ES_AGAIN, BLOCK("read_only")},
    {ANY, 403, 403, "cluster_block_exception", "/7/", ES_AGAIN, BLOCK("read")},
    {ANY, 403, 403, "cluster_block_exception", "/8/", ES_AGAIN, BLOCK("write")},
    {ANY, 403, 403, "cluster_block_exception", "/9/", ES_AGAIN, BLOCK("metadata")},
    {ANY, 403, 403, "cluster_block_exception", NULL, ES_AGAIN,
     "it continues once the block is removed"},
    {ANY, 400, 403, "index_closed_exception", NULL, ES_AGAIN,
     "it continues once the index is open: POST /INDEX/_open"},

    /* ---- too much at once: queues, memory (circuit breakers), a gateway's limit ---- */
    {ANY, 429, 429, NULL, NULL, ES_OVERLOADED, NULL},
    {ANY, 400, 599, "es_rejected_execution_exception", NULL, ES_OVERLOADED, NULL},
    /* OpenSearch's name for it */
    {ANY, 400, 599, "rejected_execution_exception", NULL, ES_OVERLOADED, NULL},
    {ES_DOCUMENTS, 413, 413, NULL, NULL, ES_TOO_LARGE, NULL},

    /* ---- a shard or node has moved, a server is starting, a gateway has no node ---- */
    {ANY, 408, 408, NULL, NULL, ES_AGAIN, NULL},
    {REQUEST, 425, 425, NULL, NULL, ES_AGAIN, NULL}, /* a gateway: too early on this connection */
    {ES_ITEM, 404, 404, "shard_not_found_exception", NULL, ES_AGAIN, NULL},
    /* ---- ingest pipelines: a processor's own exceptions have status 500 (tested: OpenSearch 2.19;
     * the first of them in all) ---- */
    {ES_ITEM, 500, 500, "fail_processor_exception", NULL, ES_REJECTED, NULL},
    {ES_ITEM, 500, 500, "ingest_processor_exception", NULL, ES_REJECTED, NULL},
    {ES_ITEM, 500, 500, "find_match", NULL, ES_REJECTED, NULL}, /* dissect's */
    {ES_ITEM, 500, 500, "class_cast_exception", NULL, ES_REJECTED, NULL},
    {ES_ITEM, 500, 500, "null_pointer_exception", NULL, ES_REJECTED, NULL},
    {ES_ITEM, 500, 500, "arithmetic_exception", NULL, ES_REJECTED, NULL},
    {ES_ITEM, 500, 500, "unsupported_operation_exception", NULL, ES_REJECTED, NULL},
    {ES_ITEM, 400, 500, "illegal_state_exception", "non-existent pipeline", ES_NO_PIPELINE,
     NO_PIPELINE},
    {ES_ITEM, 400, 400, "illegal_argument_exception", "pipeline with id [", ES_NO_PIPELINE,
     NO_PIPELINE},
    {ES_ITEM, 400, 500, "illegal_state_exception", "Cycle detected for pipeline", ES_NO_PIPELINE,
     CYCLE},
    /* Elasticsearch 8 and 9 */
    {ES_ITEM, 400, 500, "graph_structure_exception", NULL, ES_NO_PIPELINE, CYCLE},
    {ES_ITEM, 400, 500, "illegal_state_exception", "index cycle detected", ES_BROKEN,
     ES_METADATA_HINT},
    {ES_ITEM, 400, 500, NULL, "can't change the target index", ES_BROKEN, ES_METADATA_HINT},
    {ES_ITEM, 409, 409, "version_conflict_engine_exception",
     "document does not exist (expected version", ES_BROKEN, VERSION_TYPE},
    {ES_ITEM, 409, 409, "version_conflict_engine_exception", "is different than the one provided",
     ES_BROKEN, VERSION_TYPE},
    {ES_ITEM, 409, 409, "version_conflict_engine_exception", ": version conflict, required seqNo [",
     ES_BROKEN, "an ingest pipeline must not set _if_seq_no and _if_primary_term"},
    {ES_ITEM | ES_DOCUMENTS, 500, 500, "illegal_state_exception", "no ingest nodes", ES_AGAIN,
     "documents have an ingest pipeline (document() or index.default_pipeline), and no node has "
     "the role 'ingest' (node.roles)"},

    /* A node that shuts down answers 500, too. For a request about the index itself, 500 is the
     * request's fault. */
    {ES_ITEM | ES_DOCUMENTS, 500, 599, NULL, NULL, ES_AGAIN, NULL},
    {ES_WHOLE, 502, 504, NULL, NULL, ES_AGAIN, NULL},

    /* ---- the document has a newer version, or is rejected for good ---- */
    {ES_ITEM, 409, 409, "version_conflict_engine_exception", NULL, ES_STALE, NULL},

    /* ---- nothing succeeds: no document is at fault, and waiting does not help ---- */
    {ANY, 401, 401, NULL, NULL, ES_BROKEN,
     "set credentials in sink (user and password, api_key, bearer_token) or by variables such as "
     "ELASTICSEARCH_USER"},
    {ES_ITEM, 403, 403, NULL, NULL, ES_BROKEN,
     "it requires the privilege 'write' on the index (in OpenSearch indices:data/write/*)"},
    {REQUEST, 403, 403, NULL, NULL, ES_BROKEN, FORBIDDEN},
    {REQUEST, 407, 407, NULL, NULL, ES_BROKEN,
     "the proxy requires a user and a password: see http_proxy"},
    {ES_ITEM, 404, 404, "index_not_found_exception", NULL, ES_BROKEN,
     "the index was deleted while it was written to; the next run creates it and loads everything"},
    {ES_ITEM, 400, 400, "illegal_argument_exception", "no write index", ES_BROKEN,
     "set is_write_index on one index of the alias"},
    {ES_ITEM, 400, 400, "illegal_argument_exception", "data stream", ES_BROKEN,
     "documents of a data stream cannot be replaced: name an index instead"},
    {REQUEST, 300, 399, NULL, NULL, ES_BROKEN,
     "redirects are not followed, since credentials would go with them: set sink.url to the "
     "address of the search server itself"},
    {REQUEST, 400, 400, NULL, "no handler found for uri", ES_BROKEN,
     "the search server knows no such path: sink.url has one only if a proxy requires it"},
    {REQUEST, 400, 599, NULL, NULL, ES_BROKEN, NULL},

    /* ---- every other reason to refuse an item: mapping, field limit, pipeline, id, ... ---- */
    {ES_ITEM, 400, 499, NULL, NULL, ES_REJECTED, NULL},
};

const struct es_rule *es_judge(enum es_part part, int64_t status, const struct es_error *error)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct es_rule *r = &rules[i];
        if ((r->parts & part) && status >= r->from && status <= r->to &&
            (!r->type || strcmp(r->type, error->type) == 0) &&
            (!r->reason || strstr(error->reason, r->reason)))
            return r;
    }
    return NULL;
}

const struct es_rule *es_rules(size_t *n)
{
    *n = sizeof rules / sizeof *rules;
    return rules;
}

/* ---- a whole answer ---- */

/* Reads the error of a whole answer, and the status in its body (0: none). False: the body has no
 * readable error. */
static bool read_answer_error(const char *text, size_t len, struct es_error *out, int64_t *status)
{
    struct json_reader r;
    bool found = false, ok = len > 0;
    *out = (struct es_error){0};
    *status = 0;
    json_open_loose(&r, text, len);
    ok = ok && json_next(&r) == JSON_OBJECT;
    while (ok && json_next(&r) == JSON_KEY) {
        if (json_is(&r, "error"))
            ok = found = es_read_error(&r, out);
        else if (json_is(&r, "status"))
            ok = json_next(&r) == JSON_NUMBER && json_int(&r, status);
        else
            ok = json_skip(&r);
    }
    json_close(&r);
    return found && (out->type[0] || out->reason[0]);
}

/* Copies the title of a page, such as a gateway's. */
static bool page_title(const char *text, size_t len, char *out, size_t size)
{
    const char *title = len > 0 ? memmem(text, len, "<title>", 7) : NULL;
    if (!title)
        return false;
    len -= (size_t)(title + 7 - text);
    const char *end = memmem(title + 7, len, "</title>", 8);
    copy_words(out, size, title + 7, end ? (size_t)(end - title - 7) : len);
    return out[0] != '\0';
}

/* Copies the first line of a body that is not JSON. */
static void first_line(const char *text, size_t len, char *out, size_t size)
{
    while (len > 0 && (unsigned char)*text <= ' ')
        text++, len--;
    const char *line = len > 0 ? memchr(text, '\n', len) : NULL;
    copy_words(out, size, len > 0 ? text : "", line ? (size_t)(line - text) : len);
}

void es_reason(const struct es_answer *a, char *out, size_t size)
{
    size_t most = size < REASON ? size : REASON;
    struct es_error error;
    int64_t status;
    out[0] = '\0';
    if (a->redirect[0])
        snprintf(out, most, "it redirects to %s", a->redirect);
    else if (read_answer_error(a->body.data, a->body.len, &error, &status))
        es_error_text(&error, out, most);
    else if (!page_title(a->body.data, a->body.len, out, most))
        first_line(a->body.data, a->body.len, out, most);
    if (!out[0])
        snprintf(out, most, "no reason given");
}

void es_words(const struct es_answer *a, char *out, size_t size)
{
    char words[90];
    if (!page_title(a->body.data, a->body.len, words, sizeof words))
        first_line(a->body.data, a->body.len, words, sizeof words);
    snprintf(out, size, *words ? "'%s'" : "an empty body", words);
}

bool es_is_whole(const struct es_answer *a)
{
    struct json_reader r;
    json_open(&r, a->body.data, a->body.len);
    bool ok = a->body.len > 0 && json_skip(&r) && json_end(&r);
    json_close(&r);
    return ok;
}

bool es_is_own_error(const struct es_answer *a)
{
    struct es_error error;
    int64_t status;
    return read_answer_error(a->body.data, a->body.len, &error, &status) && error.type[0];
}

static bool is_passing(const struct es_rule *rule)
{
    return rule && (rule->verdict == ES_AGAIN || rule->verdict == ES_OVERLOADED);
}

static bool hint_at_credentials(const struct es_answer *a, struct err *e)
{
    bool of_file = strstr(a->credentials, "file '");
    return err_hint(e, "the credentials are those in %s%s%s%s", a->credentials,
                    a->doubt ? "; " : "", a->doubt ? a->doubt : "",
                    !a->may_pass ? ""
                    : of_file    ? ", which is read again with each try"
                                 : "; if there are new ones: restart with them, or SIGHUP if the "
                                   "script has them");
}

static bool check(const struct es_answer *a, enum es_part part, struct err *e)
{
    struct es_error error;
    int64_t status;
    char reason[REASON];
    if (a->status >= 200 && a->status < 300)
        return true;
    read_answer_error(a->body.data, a->body.len, &error, &status);
    const struct es_rule *rule = es_judge(part, a->status, &error);
    bool later = is_passing(rule) || a->may_pass;
    es_reason(a, reason, sizeof reason);
    err_set(e, later ? ERR_PASSING : ERR_FINAL, "the search server answered %d: %s", a->status,
            reason);
    e->retry_after_ms = later ? a->retry_after_ms : 0;
    e->overloaded = rule && rule->verdict == ES_OVERLOADED;
    if (!later && (a->status == 401 || a->status == 403))
        e->fault = ERR_FAULT_ACCESS;
    if (a->credentials[0])
        return hint_at_credentials(a, e);
    if (rule && rule->hint == FORBIDDEN && a->privilege)
        return err_hint(e, "it requires the privilege %s", a->privilege);
    return rule && rule->hint ? err_hint(e, "%s", rule->hint) : false;
}

bool es_check(const struct es_answer *a, struct err *e)
{
    return check(a, ES_WHOLE, e);
}

bool es_check_documents(const struct es_answer *a, struct err *e)
{
    return check(a, ES_DOCUMENTS, e);
}

bool es_unfit(const char *text, size_t len, const char *why, struct err *e)
{
    struct es_error error;
    int64_t status;
    char line[80] = "";
    if (read_answer_error(text, len, &error, &status)) {
        char reason[REASON];
        const struct es_rule *rule = es_judge(ES_DOCUMENTS, status, &error);
        bool final = rule && !is_passing(rule);
        es_error_text(&error, reason, sizeof reason);
        err_set(e, final ? ERR_FINAL : ERR_PASSING,
                "the search server answered 200, but with an error: %s", reason);
        return final && rule->hint ? err_hint(e, "%s", rule->hint) : false;
    }
    if (len > 0 && text[0] != '{')
        first_line(text, len, line, sizeof line);
    return err_set(e, ERR_PASSING, "damaged answer: %s%s%s%s", why,
                   line[0] ? "; it begins with '" : "", line, line[0] ? "'" : "");
}
