/* es: the search server: one HTTP request, one answer, over connections that are kept alive.
 *
 * Uses     libcurl, es_url, es_nodes, es_security, gzip, err, buf, json, stop, clock, log.
 * Promise  every wait ends soon after a stop is asked (requests in flight, or begun later, have a
 *          second more, all together). No answer is believed that did not arrive whole. No message
 *          holds a password.
 *
 *     es.c         the request and the connection
 *     es_answer.c  the answer: what it says, and what is to be done about it: one table (`rules`)
 *                  for whole answers and for the items of a bulk request
 */
#pragma once
#include "base/buf.h"
#include "es/es_answer.h"
#include "es/es_security.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct es_nodes;
struct es_url;

struct es_limits {   /* es_server_init sets them; tests make them small before es_open */
    long connect_ms; /* 10 s: a host that is up accepts in one; the rest is for lost packets */
    long request_ms; /* 120 s, from the first byte sent to the last one received */
    long stall_s;    /* 60 s without a byte in either direction: the server is frozen */
    int64_t stop_ms; /* 1 s: what requests still get once a stop was asked */
    size_t max_body; /* 256 MB: what an answer may weigh */
    /* 600 s: an older one is not used again, so that a name may move though its old address still
     * answers (a load balancer that is being replaced) */
    long connection_s;
};

struct es_config {   /* borrowed, for the time of es_server_init */
    const char *url; /* of one node, or of several: see es_url.h */
    /* bodies, both ways: 1: yes, -1: no, 0: unless all nodes are this machine itself (gzip.h) */
    int compress;
};

/* one for all threads; read-only after es_server_init, but for what nodes guards itself */
struct es_server {
    struct es_url *urls; /* owned; of n_urls nodes of one cluster */
    size_t n_urls;
    struct es_nodes *nodes; /* owned */
    struct es_security security;
    bool compress;
    struct es_limits limits;
};

/* False, ERR_USAGE: a URL is none. Before any thread: it also sets up libcurl. */
bool es_server_init(struct es_server *s, const struct es_config *c, struct err *e);
/* Then: who we are, and what certificates we believe: given by the script, or by the environment.
 * Without it, we are who the URL says. False, ERR_USAGE: see es_security_read. */
bool es_server_secure(struct es_server *s, const struct es_security *given, struct err *e);
/* Reads them anew, files too: *changed, the first field that is another one by now, or NULL. */
bool es_server_changed(const struct es_server *s, const struct es_security *given,
                       const char **changed, struct err *e);
void es_server_free(struct es_server *s); /* bears a zeroed struct */

struct es; /* one thread's connection */

/* does not connect yet; NULL: e says why */
struct es *es_open(const struct es_server *s, struct err *e);
void es_close(struct es *es); /* NULL is fine */

struct es_call { /* borrowed, for the time of the call */
    const char *method;
    const char *path; /* begins with '/', and is already escaped (es_add_escaped) */
    const void *body; /* NULL: none */
    size_t len;
    const char *type; /* the body's content type; NULL: application/json */
};
/* Sends a request and waits for its answer. True: an answer arrived whole, whatever its status (a 413
 * counts even if the connection broke behind its head). False: none did (passing: connect, DNS,
 * timeout, reset, cut off; final: TLS refused, ...; stopped). Of several nodes, the next in turn is
 * asked; where it gives no answer, and that is passing, another one that is well, as long as
 * request_ms last: a request may be carried out twice. a is reused: its memory is kept between
 * calls. */
bool es_request(struct es *es, const struct es_call *c, struct es_answer *a, struct err *e);

/* For an answer that no search server gives to that request. At first contact it is no outage but
 * another program, or a page of somebody else's: final, and what answered is told; unless it may be
 * a search server's that was cut off. Else passing: "damaged answer". Always returns false. */
bool es_unknown(const struct es *es, const struct es_answer *a, bool first_contact, struct err *e);

/* Adds text with all but unreserved characters as %XX: one segment of a path. */
void es_add_escaped(struct buf *b, const char *text);
