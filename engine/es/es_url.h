/* es_url: the addresses of a search cluster's nodes, parsed from one text.
 *
 * Uses     libcurl's parser of URLs, err.
 * Promise  no message quotes a URL, and no text for messages contains a password.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;

struct es_url {
    char *text;    /* owned; without user, password and final slash; for requests and messages */
    char *userpwd; /* owned; "user:password", or NULL; never printed */
    bool loopback; /* the host is this machine */
};

/* Parses one URL, or several separated by commas: http:// or https://, optionally with
 * user:password@ and a path prefix; the default port is the scheme's (80, 443), not 9200. A comma
 * separates only if http:// or https:// follows, so a password may contain one. Spaces around them,
 * and commas too many, do not count. False, ERR_USAGE: one of them is not such a URL, or there is
 * none. */
bool es_urls_parse(const char *text, struct es_url **list, size_t *n, struct err *e);
void es_urls_free(struct es_url *list, size_t n); /* NULL, 0 is fine */
