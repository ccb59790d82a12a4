/* es_url: the addresses of a search cluster's nodes, out of one text.
 *
 * Uses     libcurl's parser of URLs, err.
 * Promise  no message quotes a URL, and no text for messages holds a password.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;

struct es_url {
    char *text;    /* owned; without user, password and final slash; for messages too */
    char *userpwd; /* owned; "user:password", or NULL; never printed */
    bool loopback; /* this machine itself */
};

/* text: one URL, or several separated by commas: http:// or https://, perhaps with user:password@
 * and a path prefix; the port, if none is given, is that of the scheme (80, 443), not 9200. Only a
 * comma before another http:// or https:// divides, so that a password may hold one. False,
 * ERR_USAGE: one of them is not such a URL. */
bool es_urls_parse(const char *text, struct es_url **list, size_t *n, struct err *e);
void es_urls_free(struct es_url *list, size_t n); /* NULL, 0 is fine */
