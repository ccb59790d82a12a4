/* listener: what --listen serves: the page for people, /status, /metrics, and whether the process
 * works (/healthz) and its pipelines are up to date (/readyz).
 *
 * Uses     address, server, page, status, metrics, vitals, watchdog, stop.
 * Threads  listener_open and listener_close are the main thread's; the server has one of its own.
 * Promise  one for the process, however many pipelines. The port is bound when listener_open
 *          returns. Reading changes nothing, and shows no secret.
 */
#pragma once
#include <stdbool.h>

struct err;
struct listener;
struct vitals_list;

struct listener_options {
    const char *address; /* borrowed; NULL: there is no listener */
    const char *version; /* borrowed */
    double max_lag;      /* seconds */
};

/* vitals: borrowed. False: e says why; as address_open. *out: NULL without an address. */
bool listener_open(struct listener **out, const struct listener_options *o,
                   const struct vitals_list *vitals, struct err *e);
/* NULL is fine. */
void listener_close(struct listener *l);
