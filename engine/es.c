#include "es.h"

#include "clock.h"
#include "err.h"
#include "es_nodes.h"
#include "es_url.h"
#include "json.h"
#include "log.h"
#include "stop.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REASON = 300 }; /* bytes of a server's reason that a message has room for */
enum { MAX_RETRY_AFTER_S = 3600 };

/* ---- the server ---- */

static const struct es_limits defaults = {
    .connect_ms = 10000, .request_ms = 120000, .stall_s = 60, .stop_ms = 3000, .max_body = (size_t)256 << 20};

bool es_server_init(struct es_server *s, const struct es_config *c, struct err *e)
{
    *s = (struct es_server){.limits = defaults};
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(e, ERR_FINAL, "cannot set up libcurl");
    if (es_urls_parse(c->url, &s->urls, &s->n_urls, e) && (s->nodes = es_nodes_new(s->n_urls, e)))
        return true;
    es_urls_free(s->urls, s->n_urls);
    *s = (struct es_server){0};
    curl_global_cleanup();
    return false;
}

void es_server_free(struct es_server *s)
{
    if (s->nodes)
        curl_global_cleanup();
    es_nodes_free(s->nodes);
    es_urls_free(s->urls, s->n_urls);
    *s = (struct es_server){0};
}

/* ---- the connection ---- */

struct es {
    const struct es_server *server; /* borrowed, as its parts */
    const struct es_url *node;      /* the one that the request goes to */
    int64_t node_ms;                /* what it has for it */
    CURL *easy;
    CURLM *multi;
};

static void set_up(CURL *h, const struct es_server *s)
{
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h, CURLOPT_USERAGENT, "etl-engine");
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, s->limits.connect_ms);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L); /* bytes a second */
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, s->limits.stall_s);
    curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10); /* a body has megabytes: fewer writes */
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L); /* do not wait for a resolver that hangs */
#endif
}

struct es *es_open(const struct es_server *s, struct err *e)
{
    struct es *es = calloc(1, sizeof *es);
    if (!es) {
        err_memory(e);
        return NULL;
    }
    es->server = s;
    es->easy = curl_easy_init();
    es->multi = curl_multi_init();
    if (!es->easy || !es->multi) {
        err_memory(e);
        es_close(es);
        return NULL;
    }
    set_up(es->easy, s);
    if (s->n_urls > 3) /* one for each node; libcurl's own is four */
        curl_multi_setopt(es->multi, CURLMOPT_MAXCONNECTS, (long)s->n_urls + 1);
    return es;
}

void es_close(struct es *es)
{
    if (!es)
        return;
    curl_multi_cleanup(es->multi); /* both bear NULL */
    curl_easy_cleanup(es->easy);
    free(es);
}

void es_answer_free(struct es_answer *a)
{
    buf_free(&a->body);
    *a = (struct es_answer){0};
}

/* ---- why there was no answer ---- */

/* The one table of libcurl's codes that mean "later perhaps"; all others are final. */
static const struct {
    CURLcode code;
    const char *why;
} passing[] = {
    {CURLE_COULDNT_RESOLVE_PROXY, "could not find the proxy's address"},
    {CURLE_COULDNT_RESOLVE_HOST, "could not find its address"},
    {CURLE_COULDNT_CONNECT, "no connection"},
    {CURLE_OPERATION_TIMEDOUT, "no answer in time"},
    {CURLE_SEND_ERROR, "the connection broke while sending"},
    {CURLE_RECV_ERROR, "the connection broke while receiving"},
    {CURLE_PARTIAL_FILE, "the answer was cut off"},
    {CURLE_GOT_NOTHING, "it closed the connection without an answer"},
    {CURLE_PROXY, "the proxy failed"},
    {CURLE_AGAIN, "the connection was not ready"},
};

static const char *passing_why(CURLcode code)
{
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (passing[i].code == code)
            return passing[i].why;
    return NULL;
}

static bool timed_out(struct es *es, struct err *e)
{
    const char *url = es->node->text;
    curl_off_t connect_us = 0, total_us = 0;
    curl_easy_getinfo(es->easy, CURLINFO_CONNECT_TIME_T, &connect_us);
    curl_easy_getinfo(es->easy, CURLINFO_TOTAL_TIME_T, &total_us);
    char text[CLOCK_TEXT];
    int64_t spent = total_us;
    if (connect_us == 0)
        return err_set(e, ERR_PASSING, "could not reach %s: no connection within %s", url,
                       clock_duration(spent, text));
    if (spent < es->node_ms * 1000)
        return err_set(e, ERR_PASSING, "could not get an answer from %s: not a byte moved for %ld s", url,
                       es->server->limits.stall_s);
    return err_set(e, ERR_PASSING, "could not get an answer from %s: it was not complete after %s", url,
                   clock_duration(spent, text));
}

/* Never libcurl's own error buffer: that may quote a proxy's URL, password and all. */
static bool no_answer(struct es *es, CURLcode code, struct err *e)
{
    const char *url = es->node->text;
    long number = 0;
    curl_easy_getinfo(es->easy, CURLINFO_OS_ERRNO, &number);
    if (code == CURLE_OUT_OF_MEMORY)
        return err_memory(e);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return timed_out(es, e);
    if (code == CURLE_COULDNT_CONNECT && number != 0)
        return err_set(e, ERR_PASSING, "could not reach %s: %s", url, strerror((int)number));
    if (code == CURLE_SSL_CONNECT_ERROR && number != 0) /* broken amid the handshake, not refused by it */
        return err_set(e, ERR_PASSING, "could not reach %s: the TLS handshake broke off", url);
    const char *why = passing_why(code);
    if (why)
        return err_set(e, ERR_PASSING, "could not reach %s: %s", url, why);
    err_set(e, ERR_FINAL, "cannot reach %s: %s", url, curl_easy_strerror(code));
    if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY)
        err_hint(e, "what answers there does not speak HTTP: is it the right port?");
    return false;
}

/* ---- the request ---- */

static size_t keep_body(char *data, size_t size, size_t n, void *arg)
{
    struct buf *body = arg;
    return buf_add(body, data, size * n) ? size * n : 0; /* 0: ends the transfer with CURLE_WRITE_ERROR */
}

static void describe(CURL *h, const char *method, const void *body, size_t len, struct es_answer *a)
{
    curl_easy_setopt(h, CURLOPT_NOBODY, 0L);
    if (body || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
        curl_easy_setopt(h, CURLOPT_POST, 1L);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, body ? body : "");
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    } else if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    } else {
        curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, keep_body);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, &a->body);
}

/* Owned; NULL: no memory. */
static struct curl_slist *headers(const char *type)
{
    char line[200];
    snprintf(line, sizeof line, "Content-Type: %s", type ? type : "application/json");
    struct curl_slist *first = curl_slist_append(NULL, line);
    struct curl_slist *all =
        first ? curl_slist_append(first, "Expect:") : NULL; /* or large bodies wait for a 100 */
    if (!all)
        curl_slist_free_all(first);
    return all;
}

/* Until the transfer ends, or has had its time after a stop. False: it was stopped. */
static bool drive(struct es *es, CURLMcode *failed)
{
    int64_t end = INT64_MAX;
    int running = 1;
    for (;;) {
        *failed = curl_multi_perform(es->multi, &running);
        if (*failed != CURLM_OK || running == 0)
            return true;
        bool stopping = stop_asked() != 0;
        if (stopping && end == INT64_MAX)
            end = clock_mono_us() + es->server->limits.stop_ms * 1000;
        int64_t left = end == INT64_MAX ? 10000 : (end - clock_mono_us() + 999) / 1000;
        if (left <= 0)
            return false;
        /* The pipe stays readable for ever: once we know, it must not wake us again. */
        struct curl_waitfd wake = {.fd = stop_fd(), .events = CURL_WAIT_POLLIN};
        bool listen = !stopping && wake.fd >= 0;
        *failed = curl_multi_poll(es->multi, &wake, listen ? 1 : 0, (int)(left < 10000 ? left : 10000), NULL);
        if (*failed != CURLM_OK)
            return true;
    }
}

static CURLcode result(struct es *es)
{
    int more = 0;
    for (const CURLMsg *m; (m = curl_multi_info_read(es->multi, &more));)
        if (m->msg == CURLMSG_DONE)
            return m->data.result;
    return CURLE_FAILED_INIT;
}

static bool perform(struct es *es, CURLcode *code, struct err *e)
{
    CURLMcode failed = curl_multi_add_handle(es->multi, es->easy);
    bool finished = failed == CURLM_OK ? drive(es, &failed) : true;
    *code = finished && failed == CURLM_OK ? result(es) : CURLE_FAILED_INIT;
    curl_multi_remove_handle(es->multi, es->easy);
    if (!finished)
        return stop_err(e);
    if (failed == CURLM_OUT_OF_MEMORY)
        return err_memory(e);
    if (failed != CURLM_OK)
        return err_set(e, ERR_FINAL, "cannot send a request: %s", curl_multi_strerror(failed));
    return true;
}

static void read_head(CURL *h, struct es_answer *a)
{
    long status = 0;
    curl_off_t wait = 0;
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(h, CURLINFO_RETRY_AFTER, &wait);
    a->status = (int)status;
    a->retry_after_ms = wait <= 0 ? 0 : (int64_t)(wait < MAX_RETRY_AFTER_S ? wait : MAX_RETRY_AFTER_S) * 1000;
}

static bool body_failed(const struct es *es, const struct es_answer *a, struct err *e)
{
    if (a->body.len <
        a->body.max / 2) /* curl hands out 16 KB at a time: far from the ceiling, so it was memory */
        return err_memory(e);
    return err_set(e, ERR_FINAL, "cannot take an answer of more than %zu MB from %s", a->body.max >> 20,
                   es->node->text);
}

static bool run(struct es *es, struct es_answer *a, struct err *e)
{
    CURLcode code;
    if (!perform(es, &code, e))
        return false;
    read_head(es->easy, a);
    if (code == CURLE_OK && a->status >= 100)
        return true;
    if (a->body.failed)
        return body_failed(es, a, e);
    /* A server that refuses a body for its size need not read it: it may reset the connection behind its
     * answer. */
    if (a->status == 413 && passing_why(code))
        return true;
    return no_answer(es, code, e);
}

/* Points the handle at a node. */
static bool aim(struct es *es, const struct es_url *node, int64_t ms, const char *path, struct err *e)
{
    char *url = NULL;
    if (asprintf(&url, "%s%s", node->text, path) < 0)
        return err_memory(e);
    es->node = node;
    es->node_ms = ms;
    CURLcode set = curl_easy_setopt(es->easy, CURLOPT_URL, url); /* curl copies it */
    free(url);
    curl_easy_setopt(es->easy, CURLOPT_TIMEOUT_MS, (long)ms);
    /* Unset, it is what the environment says; a proxy is never asked for this machine itself. */
    if (set == CURLE_OK)
        set = curl_easy_setopt(es->easy, CURLOPT_PROXY, node->loopback ? "" : NULL);
    if (set == CURLE_OK)
        set = curl_easy_setopt(es->easy, CURLOPT_USERPWD, node->userpwd);
    return set == CURLE_OK || err_memory(e);
}

/* One node after the other, until one answers, none is left that is well, or the time is over. */
static bool run_on_nodes(struct es *es, const char *path, struct es_answer *a, struct err *e)
{
    const struct es_server *s = es->server;
    int64_t begun_us = clock_mono_us(), now_us = begun_us, left_ms = s->limits.request_ms;
    for (;;) {
        size_t node = es_nodes_pick(s->nodes, now_us);
        if (!aim(es, &s->urls[node], left_ms, path, e))
            return false;
        bool ok = run(es, a, e);
        if (ok && es_nodes_worked(s->nodes, node) && s->n_urls > 1)
            log_info("node %s answers again", es->node->text);
        if (ok || e->kind != ERR_PASSING)
            return ok;
        now_us = clock_mono_us();
        left_ms = s->limits.request_ms - (now_us - begun_us) / 1000;
        bool news = es_nodes_failed(s->nodes, node, now_us);
        if (left_ms <= 0 || !es_nodes_alive(s->nodes, now_us))
            return false;
        if (news)
            log_warn("%s; going on with other nodes", e->text);
        buf_clear(&a->body);
    }
}

bool es_request(struct es *es, const char *method, const char *path, const void *body, size_t len,
                const char *type, struct es_answer *a, struct err *e)
{
    if (a->body.max == 0)
        buf_init(&a->body, es->server->limits.max_body);
    buf_clear(&a->body);
    a->status = 0;
    a->retry_after_ms = 0;
    struct curl_slist *list = headers(type);
    if (!list)
        return err_memory(e);
    curl_easy_setopt(es->easy, CURLOPT_HTTPHEADER, list);
    describe(es->easy, method, body, len, a);
    bool ok = run_on_nodes(es, path, a, e);
    curl_easy_setopt(es->easy, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(es->easy, CURLOPT_POSTFIELDS, NULL);
    curl_slist_free_all(list);
    if (!ok) {
        a->status = 0;
        buf_clear(&a->body);
    }
    return ok;
}

void es_add_escaped(struct buf *b, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '_' || c == '.' || c == '~';
        if (plain)
            buf_addc(b, (char)c);
        else
            buf_addf(b, "%%%02X", c);
    }
}

/* ---- what the server says ---- */

/* text as one line into out, cut at a character. A server that could not parse a request may quote it,
 * headers and credentials too (Elasticsearch 7.10 does, in "[Source: (byte[])..."): nothing is taken from
 * there on. */
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
    while (len > 0 && out[len - 1] == ' ')
        len--;
    out[len] = '\0';
}

/* The value of one member of an error object, whose name was the last token. depth 1 is the error itself,
 * deeper ones are its causes: the innermost is kept. */
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
        snprintf(out->cause, sizeof out->cause, "%s%s%s", cause_type, cause_type[0] ? ": " : "", reason);
    }
    return true;
}

/* The rest of an error object whose brace was the last token. No recursion: depth counts the causes that are
 * open. */
static bool read_error_object(struct json_reader *r, struct es_error *out)
{
    char cause_type[sizeof out->type] = "";
    for (int depth = 1; depth > 0;) {
        enum json_token t = json_next(r);
        if (t == JSON_OBJECT_END) {
            depth--;
        } else if (t != JSON_KEY) {
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
    int n = snprintf(text, sizeof text, "%s%s%s", error->type, error->type[0] && error->reason[0] ? ": " : "",
                     error->reason);
    /* The cause is the more telling half: a long reason gives way to it. */
    char cause[sizeof error->cause + 20] = "";
    if (error->cause[0])
        snprintf(cause, sizeof cause, " (caused by %s)", error->cause);
    size_t tail = strlen(cause) < size / 2 ? strlen(cause) : size / 2;
    copy_words(out, size - tail, text, (size_t)n);
    size_t len = strlen(out);
    copy_words(out + len, size - len, cause, strlen(cause));
}

bool es_is_flood_block(const struct es_error *error)
{
    return strcmp(error->type, "cluster_block_exception") == 0 && strstr(error->reason, "/12/") != NULL;
}

/* The error of a whole answer. False: the body has none that can be read. */
static bool read_answer_error(const struct es_answer *a, struct es_error *out)
{
    struct json_reader r;
    json_open(&r, a->body.data, a->body.len);
    bool found = false;
    if (json_next(&r) == JSON_OBJECT)
        while (!found && json_next(&r) == JSON_KEY) {
            if (!json_is(&r, "error"))
                json_skip(&r);
            else
                found = es_read_error(&r, out);
            if (r.token == JSON_ERROR)
                break;
        }
    json_close(&r);
    return found && (out->type[0] || out->reason[0]);
}

void es_reason(const struct es_answer *a, char *out, size_t size)
{
    size_t most = size < REASON ? size : REASON;
    struct es_error error;
    if (a->body.len > 0 && read_answer_error(a, &error)) {
        es_error_text(&error, out, most);
        return;
    }
    const char *text = a->body.len > 0 ? a->body.data : "";
    size_t len = a->body.len;
    while (len > 0 && (unsigned char)*text <= ' ')
        text++, len--;
    const char *line = len > 0 ? memchr(text, '\n', len) : NULL;
    copy_words(out, most, text, line ? (size_t)(line - text) : len);
    if (!out[0])
        snprintf(out, most, "no reason given");
}

bool es_check(const struct es_answer *a, struct err *e)
{
    if (a->status >= 200 && a->status < 300)
        return true;
    struct es_error error = {0};
    bool flood =
        a->status == 403 && a->body.len > 0 && read_answer_error(a, &error) && es_is_flood_block(&error);
    char reason[REASON];
    es_reason(a, reason, sizeof reason);
    bool later = flood || a->status == 429 || a->status == 502 || a->status == 503 || a->status == 504;
    err_set(e, later ? ERR_PASSING : ERR_FINAL, "the search server answered %d: %s", a->status, reason);
    e->retry_after_ms = later ? a->retry_after_ms : 0;
    if (a->status == 401)
        err_hint(e, "the server wants a user and a password: http://USER:PASSWORD@HOST:9200");
    else if (a->status == 403 && !later)
        err_hint(e, "the user in the sink's url needs more privileges");
    return false;
}
