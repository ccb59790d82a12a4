#include "es/es.h"

#include "base/alike.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/watchdog.h"
#include "base/witness.h"
#include "es/es_credentials.h"
#include "es/es_nodes.h"
#include "es/es_url.h"
#include "es/es_warning.h"
#include "es/gzip.h"
#include "es/sigv4.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_RETRY_AFTER_S = 3600,
    MAX_RENEWALS = 3, /* of the credentials, for one request */
};

/* ---- the server ---- */

static const struct es_limits defaults = {.connect_ms = 10000,
                                          .request_ms = 120000,
                                          .stall_s = 60,
                                          .stop_ms = 1000,
                                          .max_body = (size_t)256 << 20,
                                          .connection_s = 600};

static bool is_worth_compressing(const struct es_server *s)
{
    for (size_t i = 0; i < s->n_urls; i++)
        if (!s->urls[i].loopback)
            return true;
    return false;
}

bool es_server_init(struct es_server *s, const struct es_config *c, struct err *e)
{
    *s = (struct es_server){.limits = defaults};
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(e, ERR_FINAL, "cannot set up libcurl");
    if (es_urls_parse(c->url, &s->urls, &s->n_urls, e) && (s->nodes = es_nodes_new(s->n_urls, e)) &&
        (s->credentials = es_credentials_new(c->url, e)) && (s->warnings = es_warnings_new(e))) {
        s->compress = c->compress != 0 ? c->compress > 0 : is_worth_compressing(s);
        return true;
    }
    es_credentials_free(s->credentials);
    es_nodes_free(s->nodes);
    es_urls_free(s->urls, s->n_urls);
    *s = (struct es_server){0};
    curl_global_cleanup();
    return false;
}

/* Warns and continues, since the network may be a trusted one. */
static void warn_of_plain_text(const struct es_identity *id)
{
    for (size_t i = 0; i < id->n_urls; i++) {
        const struct es_url *u = &id->urls[i];
        bool secret = u->userpwd || es_security_is_secret(&id->security);
        if (secret && !u->loopback && strncmp(u->text, "http:", 5) == 0) {
            log_warn_with(LOG_FIELDS(log_text("node", u->text)),
                          "credentials go to %s unencrypted; use https:// if the server offers it",
                          u->text);
            return;
        }
    }
}

static bool warn_of_danger(const struct es_server *s)
{
    const struct es_identity *id = es_credentials_take(s->credentials);
    if (!id->security.verify)
        log_warn(
            "the search server's certificate is not verified (verify = false): anybody with access "
            "to the network in between can read and change all documents and credentials");
    warn_of_plain_text(id);
    es_identity_drop(id);
    return true;
}

bool es_server_secure(struct es_server *s, const struct es_security *given, struct err *e)
{
    return es_credentials_secure(s->credentials, given, e) && warn_of_danger(s);
}

bool es_server_secure_again(struct es_server *s, const char *url, const struct es_security *given,
                            struct err *e)
{
    return es_credentials_replace(s->credentials, url, given, e) && warn_of_danger(s);
}

void es_server_free(struct es_server *s)
{
    if (s->nodes)
        curl_global_cleanup();
    es_nodes_free(s->nodes);
    es_warnings_free(s->warnings);
    es_urls_free(s->urls, s->n_urls);
    es_credentials_free(s->credentials);
    *s = (struct es_server){0};
}

/* ---- the connection ---- */

struct es {
    const struct es_server *server; /* borrowed, like its parts */
    const struct es_url *node;      /* that the request is sent to */
    int64_t node_ms;                /* its time for the request */
    struct es_answer *answer;       /* to it */
    struct curl_slist *headers;     /* owned; of the request */
    struct es_handshake handshake;
    const struct es_identity *identity; /* owned: that the handle is set up for */
    struct gzip *gzip;                  /* owned; NULL: bodies are not compressed */
    struct es_meanwhile meanwhile;      /* fd NULL: nothing */
    bool was_answered;
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
    /* Not requested, but a gateway's is understood. */
    curl_easy_setopt(h, CURLOPT_ACCEPT_ENCODING, s->compress ? "gzip" : "identity");
    /* A name is resolved when a connection is made, which is rare; old addresses are never
     * reused. */
    curl_easy_setopt(h, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, s->limits.connect_ms);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L); /* bytes a second */
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, s->limits.stall_s);
    /* a body has megabytes: this makes fewer writes */
    curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
#if LIBCURL_VERSION_NUM >= 0x075000
    curl_easy_setopt(h, CURLOPT_MAXLIFETIME_CONN, s->limits.connection_s);
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L); /* do not wait for a resolver that hangs */
#endif
}

static void close_handle(struct es *es)
{
    curl_multi_cleanup(es->multi); /* both accept NULL */
    curl_easy_cleanup(es->easy);
    es_identity_drop(es->identity);
    es->multi = NULL;
    es->easy = NULL;
    es->identity = NULL;
}

/* Opens a handle for the present identity. An old one's is of no use: its connections, and its TLS
 * sessions, are bound to the certificate that was shown for them. */
static bool open_handle(struct es *es, struct err *e)
{
    const struct es_server *s = es->server;
    close_handle(es);
    es->identity = es_credentials_take(s->credentials);
    es->easy = curl_easy_init();
    es->multi = curl_multi_init();
    if (!es->easy || !es->multi)
        return err_memory(e);
    set_up(es->easy, s);
    if (s->n_urls > 3) /* one for each node; libcurl's default is four */
        curl_multi_setopt(es->multi, CURLMOPT_MAXCONNECTS, (long)s->n_urls + 1);
    return es_security_apply(&es->identity->security, &es->handshake, es->easy, e);
}

struct es *es_open(const struct es_server *s, struct err *e)
{
    struct es *es = calloc(1, sizeof *es);
    if (!es) {
        err_memory(e);
        return NULL;
    }
    es->server = s;
    es->gzip = s->compress ? gzip_new() : NULL;
    if (s->compress && !es->gzip)
        err_memory(e);
    else if (open_handle(es, e))
        return es;
    es_close(es);
    return NULL;
}

void es_close(struct es *es)
{
    if (!es)
        return;
    close_handle(es);
    curl_slist_free_all(es->headers);
    gzip_free(es->gzip);
    free(es);
}

/* ---- why there was no answer ---- */

/* libcurl's codes that are passing; all others are final. */
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
    {CURLE_BAD_CONTENT_ENCODING, "the compressed answer is damaged"},
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

static bool report_timeout(struct es *es, struct err *e)
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
        return err_set(e, ERR_PASSING,
                       "could not get an answer from %s: not a byte moved for %ld s", url,
                       es->server->limits.stall_s);
    return err_set(e, ERR_PASSING, "could not get an answer from %s: it was not complete after %s",
                   url, clock_duration(spent, text));
}

/* The variable of a proxy that libcurl uses for this URL, unless no_proxy excepts its host; NULL:
 * none. */
static const char *proxy_variable(const struct es_url *node)
{
    static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy",
                                        "ALL_PROXY"};
    bool tls = strncmp(node->text, "https:", 6) == 0;
    for (size_t i = 0; !node->loopback && i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        bool fits =
            i > 2 || (i == 2) != tls; /* HTTP_PROXY is not read: a CGI client could set it */
        if (fits && value && *value)
            return names[i];
    }
    return NULL;
}

static bool hint_at_proxy(const struct es *es, struct err *e)
{
    const char *variable = proxy_variable(es->node);
    return variable && !*e->hint
               ? err_hint(e, "%s is set: requests go by that proxy, unless no_proxy names the host",
                          variable)
               : false;
}

static bool may_pass(const struct es *es)
{
    return es->server->patient && es_credentials_were_accepted(es->server->credentials);
}

/* Never uses libcurl's own error buffer: it may quote a proxy's URL with its password. */
static bool classify_no_answer(struct es *es, CURLcode code, struct err *e)
{
    const char *url = es->node->text;
    long number = 0;
    curl_easy_getinfo(es->easy, CURLINFO_OS_ERRNO, &number);
    if (code == CURLE_OUT_OF_MEMORY)
        return err_memory(e);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return report_timeout(es, e);
    if (code == CURLE_COULDNT_CONNECT && number != 0)
        return err_set(e, ERR_PASSING, "could not reach %s: %s", url, strerror((int)number));
    if (es_security_failed(&es->handshake, es->easy, code, url, e)) {
        if (may_pass(es)) /* its files, or the server's, may be renewed: they are read each time */
            e->kind = ERR_PASSING;
        return false;
    }
    const char *why = passing_why(code);
    if (why) {
        err_set(e, ERR_PASSING, "could not reach %s: %s", url, why);
        if (code == CURLE_GOT_NOTHING &&
            strncmp(url, "http:", 5) == 0) /* Elasticsearch 8 does this by default */
            err_hint(e, "the server may accept https:// only");
        return false;
    }
    err_set(e, ERR_FINAL, "cannot reach %s: %s", url, curl_easy_strerror(code));
    if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY)
        err_hint(e, "the server does not speak HTTP: check the port");
    return false;
}

/* ---- the request ---- */

static size_t keep_body(char *data, size_t size, size_t n, void *arg)
{
    struct buf *body = arg;
    /* 0 ends the transfer with CURLE_WRITE_ERROR */
    return buf_add(body, data, size * n) ? size * n : 0;
}

/* The value of a header line, if it has this name. */
static const char *value_of(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);
    return len > n && line[n] == ':' && strncasecmp(line, name, n) == 0 ? line + n + 1 : NULL;
}

static size_t keep_header(char *line, size_t size, size_t n, void *arg)
{
    const struct es *es = arg;
    size_t len = size * n;
    const char *warning = value_of(line, len, "Warning");
    if (warning)
        es_warnings_tell(es->server->warnings, warning, (size_t)(line + len - warning),
                         es->node->text);
    es->answer->elastic |= value_of(line, len, "X-Elastic-Product") != NULL;
    return len;
}

struct request { /* as it is sent: the body may be compressed */
    struct es_call call;
    bool packed;
};

static void pack(struct es *es, struct request *r)
{
    const struct buf *packed =
        es->gzip && r->call.body ? gzip_pack(es->gzip, r->call.body, r->call.len) : NULL;
    if (!packed)
        return;
    r->call.body = packed->data;
    r->call.len = packed->len;
    r->packed = true;
}

static void describe(CURL *h, const struct es_call *r, struct es_answer *a)
{
    curl_easy_setopt(h, CURLOPT_NOBODY, 0L);
    if (r->body || strcmp(r->method, "POST") == 0 || strcmp(r->method, "PUT") == 0) {
        curl_easy_setopt(h, CURLOPT_POST, 1L);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, r->body ? r->body : "");
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->len);
    } else if (strcmp(r->method, "HEAD") == 0) {
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    } else {
        curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, r->method);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, keep_body);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, &a->body);
}

static void drop_headers(struct es *es)
{
    curl_easy_setopt(es->easy, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(es->headers);
    es->headers = NULL;
}

static bool add_header(struct es *es, const char *line)
{
    struct curl_slist *longer = curl_slist_append(es->headers, line);
    if (longer)
        es->headers = longer;
    return longer != NULL;
}

/* A signature is valid for one node, so the headers are built for each. */
static bool set_headers(struct es *es, const struct request *r, const char *url, struct err *e)
{
    char type[200];
    snprintf(type, sizeof type, "Content-Type: %s",
             r->call.type ? r->call.type : "application/json");
    drop_headers(es);
    /* otherwise large bodies wait for a 100 */
    if (!add_header(es, type) || !add_header(es, "Expect:") ||
        (r->packed && !add_header(es, "Content-Encoding: gzip")))
        return err_memory(e);
    if (!es_security_headers(
            &es->identity->security,
            &(struct sigv4_request){r->call.method, url, r->call.body, r->call.len}, &es->headers,
            e))
        return false;
    curl_easy_setopt(es->easy, CURLOPT_HTTPHEADER, es->headers);
    return true;
}

/* All requests together have stop_ms from the request to stop. Nor do we wait for a thread that
 * resolves a name, which cannot be interrupted. */
static int64_t end_of_stop(struct es *es)
{
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(es->easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    return clock_mono_us() + stop_left_ms(es->server->limits.stop_ms) * 1000;
}

void es_set_meanwhile(struct es *es, const struct es_meanwhile *m)
{
    es->meanwhile = m ? *m : (struct es_meanwhile){0};
}

/* Waits until the transfer can go on, a stop is asked, or there is something to do meanwhile, which
 * is done. The stop's pipe stays readable for ever: once it was noticed, it must not wake us
 * again. */
static CURLMcode wait_for_more(struct es *es, bool stopping, int64_t ms)
{
    const struct es_meanwhile *m = &es->meanwhile;
    struct curl_waitfd stop = {.fd = stopping ? -1 : stop_fd(), .events = CURL_WAIT_POLLIN},
                       other = {.fd = m->fd && !stopping ? m->fd(m->arg) : -1,
                                .events = CURL_WAIT_POLLIN};
    struct curl_waitfd fds[2];
    unsigned n = 0;
    if (other.fd >= 0)
        fds[n++] = other;
    if (stop.fd >= 0)
        fds[n++] = stop;
    CURLMcode failed = curl_multi_poll(es->multi, fds, n, (int)watchdog_nap_ms(ms), NULL);
    if (failed == CURLM_OK && other.fd >= 0 && fds[0].revents != 0)
        m->ready(m->arg);
    return failed;
}

/* Runs until the transfer ends, or its time after a stop is over. False: it was stopped. */
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
            end = end_of_stop(es);
        int64_t left = end == INT64_MAX ? 10000 : (end - clock_mono_us() + 999) / 1000;
        if (left <= 0)
            return false;
        watchdog_sign();
        *failed = wait_for_more(es, stopping, left < 10000 ? left : 10000);
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

/* Keeps the parts of a URL from the server that may be shown: scheme, host and port. */
static void keep_redirect(const char *url, struct es_answer *a)
{
    CURLU *u = curl_url();
    char *shown = NULL;
    static const CURLUPart hidden[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_PATH,
                                       CURLUPART_QUERY, CURLUPART_FRAGMENT};
    bool ok = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK;
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        ok = ok && curl_url_set(u, hidden[i], NULL, 0) == CURLUE_OK;
    if (ok && curl_url_get(u, CURLUPART_URL, &shown, 0) == CURLUE_OK)
        snprintf(a->redirect, sizeof a->redirect, "%s", shown);
    curl_free(shown);
    curl_url_cleanup(u);
}

static void read_head(CURL *h, struct es_answer *a)
{
    const char *url = NULL, *type = NULL;
    long status = 0;
    curl_off_t wait = 0;
    curl_easy_getinfo(h, CURLINFO_CONTENT_TYPE, &type);
    snprintf(a->type, sizeof a->type, "%.*s", type ? (int)strcspn(type, ";\r\n") : 0,
             type ? type : "");
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(h, CURLINFO_RETRY_AFTER, &wait);
    a->status = (int)status;
    a->redirect[0] = '\0';
    if (curl_easy_getinfo(h, CURLINFO_REDIRECT_URL, &url) == CURLE_OK && url)
        keep_redirect(url, a);
    a->retry_after_ms =
        wait <= 0 ? 0 : (int64_t)(wait < MAX_RETRY_AFTER_S ? wait : MAX_RETRY_AFTER_S) * 1000;
}

static bool report_lost_body(const struct es *es, const struct es_answer *a, struct err *e)
{
    if (a->body.len <
        /* curl hands over 16 KB at a time: far from the limit, so memory is exhausted */
        a->body.max / 2)
        return err_memory(e);
    return err_set(e, ERR_FINAL, "cannot take an answer of more than %zu MB from %s",
                   a->body.max >> 20, es->node->text);
}

static bool send_once(struct es *es, struct es_answer *a, struct err *e)
{
    CURLcode code;
    es_security_begin(&es->handshake);
    if (!perform(es, &code, e))
        return false;
    read_head(es->easy, a);
    bool answered = code == CURLE_OK && a->status >= 100;
    witness_answer(answered ? a->status : 0);
    if (answered)
        return true;
    if (a->body.failed)
        return report_lost_body(es, a, e);
    /* A server that refuses a body because of its size need not read it: it may reset the
     * connection after its answer. */
    if (a->status == 413 && passing_why(code))
        return true;
    classify_no_answer(es, code, e);
    return hint_at_proxy(es, e);
}

static void clear(struct es_answer *a)
{
    buf_clear(&a->body);
    a->status = 0;
    a->retry_after_ms = 0;
    a->type[0] = a->redirect[0] = a->credentials[0] = '\0';
    a->doubt = NULL;
    a->may_pass = a->elastic = false;
}

/* Points the handle at a node. */
static bool point_at(struct es *es, size_t number, int64_t ms, const struct request *r,
                     struct err *e)
{
    const struct es_url *node = &es->server->urls[number];
    char *url = NULL;
    if (asprintf(&url, "%s%s", node->text, r->call.path) < 0)
        return err_memory(e);
    es->node = node;
    es->node_ms = ms;
    CURLcode set = curl_easy_setopt(es->easy, CURLOPT_URL, url); /* curl copies it */
    bool ok = set == CURLE_OK ? set_headers(es, r, url, e) : err_memory(e);
    free(url);
    curl_easy_setopt(es->easy, CURLOPT_TIMEOUT_MS, (long)ms);
    /* If unset, libcurl uses the environment's proxy; this machine itself is never reached by a
     * proxy. */
    set = curl_easy_setopt(es->easy, CURLOPT_PROXY, node->loopback ? "" : NULL);
    if (ok && set != CURLE_OK)
        ok = err_memory(e);
    const struct es_identity *id = es->identity;
    return ok && es_security_login(&id->security, es->easy, id->urls[number].userpwd, e);
}

/* Whether another node may do better: there was no answer for any reason (including this node's
 * certificate), or a gateway says that no node answered. With one node, the caller judges. */
static bool is_unhealthy(const struct es_server *s, bool answered, const struct es_answer *a,
                         const struct err *e)
{
    if (s->n_urls == 1 || e->kind == ERR_STOPPED)
        return !answered && e->kind == ERR_PASSING;
    return !answered || a->status == 502 || a->status == 503 || a->status == 504;
}

static void warn_unhealthy(const struct es *es, bool answered, const struct es_answer *a,
                           const struct err *e)
{
    if (answered)
        alike_warn(NULL, LOG_FIELDS(log_text("node", es->node->text), log_int("status", a->status)),
                   "node %s answered %d; going on with other nodes", es->node->text, a->status);
    else
        alike_warn(NULL, LOG_FIELDS(log_text("node", es->node->text), LOG_ERR(e)),
                   "%s; going on with other nodes", e->text);
}

/* Tries one node after the other, until one succeeds, no healthy one is left, or the time is
 * over. */
static bool send_to_nodes(struct es *es, const struct request *r, struct es_answer *a,
                          struct err *e)
{
    const struct es_server *s = es->server;
    int64_t begun_us = clock_mono_us(), now_us = begun_us, left_ms = s->limits.request_ms;
    for (;;) {
        size_t node = es_nodes_pick(s->nodes, now_us);
        if (!point_at(es, node, left_ms, r, e))
            return false;
        e->kind = ERR_NONE;
        bool ok = send_once(es, a, e), unhealthy = is_unhealthy(s, ok, a, e);
        if (ok && !unhealthy && es_nodes_worked(s->nodes, node) && s->n_urls > 1)
            alike_info(NULL, LOG_FIELDS(log_text("node", es->node->text)), "node %s answers again",
                       es->node->text);
        if (!unhealthy)
            return ok;
        now_us = clock_mono_us();
        left_ms = s->limits.request_ms - (now_us - begun_us) / 1000;
        bool news = es_nodes_failed(s->nodes, node, now_us);
        if (left_ms <= 0 || !es_nodes_alive(s->nodes, now_us))
            return ok;
        if (news)
            warn_unhealthy(es, ok, a, e);
        clear(a);
    }
}

/* ---- when we are refused ---- */

/* 403 is what Amazon says of credentials that have expired, and a role's new member may do more. */
static bool is_refused(const struct es_answer *a)
{
    return a->status == 401 || a->status == 403;
}

/* With the identity that there is now. */
static bool send_as_now(struct es *es, const struct request *r, struct es_answer *a, struct err *e)
{
    clear(a);
    if (!es_credentials_is_current(es->server->credentials, es->identity) && !open_handle(es, e))
        return false;
    describe(es->easy, &r->call, a);
    curl_easy_setopt(es->easy, CURLOPT_HEADERFUNCTION, keep_header);
    curl_easy_setopt(es->easy, CURLOPT_HEADERDATA, es);
    bool ok = send_to_nodes(es, r, a, e);
    if (ok && a->status < 400)
        es_credentials_accept(es->server->credentials);
    return ok;
}

/* As long as there are new credentials, but for a file that changes all the time. */
static bool send_as_anybody(struct es *es, const struct request *r, struct es_answer *a,
                            struct err *e)
{
    struct es_credentials *c = es->server->credentials;
    for (int tries = 0;; tries++) {
        if (!send_as_now(es, r, a, e))
            return false;
        if (!is_refused(a) || tries == MAX_RENEWALS || !es_credentials_renew(c, es->identity))
            break;
    }
    if (a->status == 401) {
        es_credentials_places(c, a->credentials, sizeof a->credentials);
        if (!es_credentials_were_accepted(c))
            a->doubt = es_security_doubt(&es->identity->security);
        a->may_pass = may_pass(es);
    }
    return true;
}

bool es_request(struct es *es, const struct es_call *c, struct es_answer *a, struct err *e)
{
    if (a->body.max == 0)
        buf_init(&a->body, es->server->limits.max_body);
    a->privilege = es_security_privilege(c->method, c->path);
    struct request r = {.call = *c};
    pack(es, &r);
    es->answer = a;
    bool ok = send_as_anybody(es, &r, a, e);
    es->was_answered |= ok && (a->status < 300 || is_refused(a) || es_is_own_error(a));
    if (es->easy)
        curl_easy_setopt(es->easy, CURLOPT_POSTFIELDS, NULL);
    drop_headers(es);
    if (!ok) {
        a->status = 0;
        buf_clear(&a->body);
    }
    return ok;
}

bool es_unknown(const struct es *es, const struct es_answer *a, bool first_contact, struct err *e)
{
    char words[100];
    bool json = a->body.len > 0 && a->body.data[0] == '{' && a->status == 200;
    es_words(a, words, sizeof words);
    if (!first_contact || (json && !es_is_whole(a)))
        return err_set(e, ERR_PASSING, "damaged answer from %s: status %d, %s: %s", es->node->text,
                       a->status, *a->type ? a->type : "no content type", words);
    err_set(e, ERR_FINAL, "the server at %s is not a search server: status %d, %s: %s",
            es->node->text, a->status, *a->type ? a->type : "no content type", words);
    return err_hint(
        e,
        "sink.url must be the address of Elasticsearch or OpenSearch itself; the default port is "
        "9200");
}

bool es_was_answered(const struct es *es)
{
    return es->was_answered;
}

const char *es_node(const struct es *es)
{
    return es->node->text;
}

void es_add_escaped(struct buf *b, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '_' || c == '.' || c == '~';
        if (plain)
            buf_addc(b, (char)c);
        else
            buf_addf(b, "%%%02X", c);
    }
}
