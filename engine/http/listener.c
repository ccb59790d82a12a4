#include "http/listener.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/watchdog.h"
#include "http/address.h"
#include "http/metrics.h"
#include "http/page.h"
#include "http/server.h"
#include "http/show.h"
#include "http/status.h"

#include <microhttpd.h>
#include <stdlib.h>

enum { POLICY_MAX = 4096 };

struct listener {
    struct listener_options options;
    const struct vitals_list *vitals; /* borrowed */
    struct buf policy;                /* of the page */
    struct server *server;
};

/* ---- what is shown ---- */

/* NULL: no memory. */
static struct show *look(const struct listener *l)
{
    size_t n = vitals_count(l->vitals);
    struct show *w = calloc(1, sizeof *w + n * sizeof *w->pipelines);
    if (!w)
        return NULL;
    *w = (struct show){.version = l->options.version,
                       .now_us = clock_wall_us(),
                       .started_us = vitals_started_us(l->vitals),
                       .max_lag = l->options.max_lag,
                       .stopping = stop_asked() != 0,
                       .n = n,
                       .pipelines = (struct vitals_snapshot *)(w + 1)};
    process_look(&w->process);
    for (size_t i = 0; i < n; i++)
        vitals_snapshot(vitals_at(l->vitals, i), &w->pipelines[i]);
    return w;
}

static void show_page(void *arg, const struct server_request *request, struct server_answer *out)
{
    struct listener *l = arg;
    (void)request;
    out->type = "text/html; charset=utf-8";
    out->policy = l->policy.data;
    buf_add(&out->body, page_html, page_html_size);
}

static void show_status(void *arg, const struct server_request *request, struct server_answer *out)
{
    struct show *w = look(arg);
    (void)request;
    out->type = "application/json";
    if (w)
        status_write(w, &out->body);
    else
        out->body.failed = true;
    free(w);
}

static void show_metrics(void *arg, const struct server_request *request, struct server_answer *out)
{
    struct show *w = look(arg);
    bool open = metrics_is_open(request->accept);
    out->type = metrics_type(open);
    if (w)
        metrics_write(w, open, &out->body);
    else
        out->body.failed = true;
    free(w);
}

static void show_ready(void *arg, const struct server_request *request, struct server_answer *out)
{
    struct show *w = look(arg);
    (void)request;
    out->status = w && show_all_ready(w) ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    if (w)
        show_readiness(w, &out->body);
    free(w);
}

static void show_health(void *arg, const struct server_request *request, struct server_answer *out)
{
    char name[WATCHDOG_NAME];
    (void)arg, (void)request;
    if (watchdog_works(name)) {
        buf_adds(&out->body, "ok\n");
        return;
    }
    out->status = MHD_HTTP_SERVICE_UNAVAILABLE;
    buf_addf(&out->body, "thread '%s' hangs\n", name);
}

static const struct server_route routes[] = {
    {"/", show_page},          {"/status", show_status}, {"/metrics", show_metrics},
    {"/healthz", show_health}, {"/readyz", show_ready},  {0},
};

/* ---- opening and closing ---- */

bool listener_open(struct listener **out, const struct listener_options *o,
                   const struct vitals_list *vitals, struct err *e)
{
    struct address at;
    *out = NULL;
    if (!o->address)
        return true;
    struct listener *l = calloc(1, sizeof *l);
    if (!l)
        return err_memory(e);
    *l = (struct listener){.options = *o, .vitals = vitals};
    buf_init(&l->policy, POLICY_MAX);
    page_policy((const char *)page_html, page_html_size, &l->policy);
    bool ok = (buf_cstr(&l->policy) || err_memory(e)) && address_open(o->address, &at, e) &&
              (l->server = server_start(&at, routes, l, e));
    if (!ok) {
        listener_close(l);
        return false;
    }
    log_info_with(LOG_FIELDS(log_text("address", at.host), log_int("port", at.port)),
                  "listening on http://%s:%d/", at.host, at.port);
    *out = l;
    return true;
}

void listener_close(struct listener *l)
{
    if (!l)
        return;
    server_stop(l->server);
    buf_free(&l->policy);
    free(l);
}
