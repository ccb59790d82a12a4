/* sigv4: signs a request as Amazon's services ask for it (AWS Signature Version 4).
 *
 * Uses     libcrypto, buf, err.
 * Promise  the secret itself is in nothing that leaves.
 *
 * libcurl has CURLOPT_AWS_SIGV4, but signs a request as it is written (7.88, Debian 12's): a comma
 * in the path or parameters out of order, which AWS puts into a canonical form first, are then
 * refused.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct buf;
struct err;

enum { SIGV4_NAME = 64 };

struct sigv4 {
    const char *key_id, *secret; /* borrowed */
    const char *token;           /* of a session; borrowed; NULL: none */
    char region[SIGV4_NAME], service[SIGV4_NAME];
};

/* Reads "aws:amz:REGION:SERVICE", as curl has it, into region and service. */
bool sigv4_scope(struct sigv4 *s, const char *text);

/* The value of the header Host that libcurl sends for this URL: without the scheme's own port. Adds
 * it to out. */
void sigv4_add_host(struct buf *out, const char *url);

struct sigv4_request { /* borrowed, for the time of the call */
    const char *method;
    const char *url;  /* whole, as it is sent */
    const void *body; /* NULL: none */
    size_t len;
};
/* Adds the headers that the request needs, each a line that ends in a line break: Host, X-Amz-Date,
 * X-Amz-Content-Sha256, X-Amz-Security-Token, Authorization. */
bool sigv4_sign(const struct sigv4 *s, const struct sigv4_request *r, time_t now, struct buf *out,
                struct err *e);
