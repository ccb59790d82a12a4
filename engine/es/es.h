/* es: search-server client: one HTTP request, one answer, over connections that are kept alive.
 *
 * Uses     libcurl, es_answer, es_url, es_nodes, es_security, es_credentials, es_warning, gzip,
 *          err, buf, stop, clock, alike, witness.
 * Threads  the server is shared by all and read-only; a connection belongs to one thread. Secrets
 *          in files are read again when the server refuses them, and the request is sent again.
 * Promise  every wait ends soon after a stop is requested (requests under way, or begun later,
 *          share one more second). An answer counts only if it arrived completely. No message
 *          contains a password.
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
struct es_credentials;
struct es_nodes;
struct es_url;
struct es_warnings;

struct es_limits {   /* set by es_server_init; tests reduce them before es_open */
    long connect_ms; /* 10 s: a host that is up accepts in one; the rest is for lost packets */
    long request_ms; /* 120 s, from the first byte sent to the last one received */
    long stall_s;    /* 60 s without a byte in either direction: the server is frozen */
    int64_t stop_ms; /* 1 s: the time left for requests once a stop was requested */
    size_t max_body; /* 256 MB: the largest answer */
    /* 600 s: an older connection is not used again, so that a changed address of a name is noticed
     * even if the old one still answers (a load balancer that is being replaced) */
    long connection_s;
};

struct es_config {   /* borrowed, for the time of es_server_init */
    const char *url; /* of one node, or of several: see es_url.h */
    /* compress bodies, in both directions: 1: yes, -1: no, 0: unless all nodes are on this machine
     * (gzip.h) */
    int compress;
};

/* one for all threads; read-only after es_server_init, except for nodes, credentials and warnings,
 * which have locks of their own */
struct es_server {
    struct es_url *urls; /* owned; of the n_urls nodes of one cluster */
    size_t n_urls;
    struct es_nodes *nodes;             /* owned */
    struct es_credentials *credentials; /* owned */
    struct es_warnings *warnings;       /* owned; that the servers have sent */
    bool compress;
    /* a refusal of credentials that were accepted before is passing, and so is that of a
     * certificate: they may be renewed. Set it before the first request */
    bool patient;
    struct es_limits limits;
};

/* Parses the URLs and sets up libcurl, so it must precede any thread. False, ERR_USAGE: a URL is
 * invalid. */
bool es_server_init(struct es_server *s, const struct es_config *c, struct err *e);
/* Sets authentication and TLS, as given by the script or by the environment. Without it, only the
 * URL's user and password authenticate us. Warns of what is not safe. False, ERR_USAGE: see
 * es_security_read. */
bool es_server_secure(struct es_server *s, const struct es_security *given, struct err *e);
/* The same, while other threads use the server, with another url for the same nodes. False,
 * ERR_USAGE: nothing has changed. */
bool es_server_secure_again(struct es_server *s, const char *url, const struct es_security *given,
                            struct err *e);
void es_server_free(struct es_server *s); /* safe on a zeroed struct */

struct es; /* one thread's connection */

/* Prepares a connection; the first request connects. NULL: e says why. */
struct es *es_open(const struct es_server *s, struct err *e);
void es_close(struct es *es); /* NULL is fine */

struct es_call { /* borrowed, for the time of the call */
    const char *method;
    const char *path; /* begins with '/', and is already escaped (es_add_escaped) */
    const void *body; /* NULL: none */
    size_t len;
    const char *type; /* the body's content type; NULL: application/json */
};
/* Sends a request and waits for its answer. True: an answer arrived completely, whatever its status
 * (a 413 counts even if the connection broke after its header). False, passing: could not connect
 * or resolve the name, a timeout, a reset, an answer cut off. False, final: TLS refused, and the
 * like. False, stopped. Several nodes are used round-robin; when one gives no answer, for a passing
 * reason, another healthy node is tried until request_ms is over: so a request may be carried out
 * twice. a keeps its memory from call to call. */
bool es_request(struct es *es, const struct es_call *c, struct es_answer *a, struct err *e);

/* What is done meanwhile, whenever a request waits. */
struct es_meanwhile {
    int (*fd)(void *arg);     /* a descriptor to wait for (POLLIN), too; -1: none for now */
    void (*ready)(void *arg); /* it is readable; must not wait */
    void *arg;                /* borrowed */
};
/* From now on. copied; NULL: nothing is done. */
void es_set_meanwhile(struct es *es, const struct es_meanwhile *m);

/* Reports an answer that no search server gives to this request. At first contact, this is no
 * outage but another program or somebody else's page: final, with what answered, unless it may be a
 * search server's answer that was cut off. Later: passing, "damaged answer". Always returns
 * false. */
bool es_unknown(const struct es *es, const struct es_answer *a, bool first_contact, struct err *e);

/* Whether a search server has answered a request, if only to refuse it: the address is right. */
bool es_was_answered(const struct es *es);
/* The URL of the node that the last request was sent to, without a password. */
const char *es_node(const struct es *es);

/* Appends text with all but unreserved characters as %XX: one segment of a path. */
void es_add_escaped(struct buf *b, const char *text);
