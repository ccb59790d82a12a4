/* sigv4: signs a request for Amazon's services (AWS Signature Version 4).
 *
 * Uses     libcrypto, buf, err.
 * Promise  the secret key itself is never part of the output.
 *
 * libcurl has CURLOPT_AWS_SIGV4, but (in 7.88, Debian 12) signs a request as it is written, while
 * AWS first puts it into a canonical form: a comma in the path, or unsorted parameters, would be
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

/* Reads "aws:amz:REGION:SERVICE", curl's notation, into region and service. */
bool sigv4_scope(struct sigv4 *s, const char *text);

/* Appends the value of the header Host as libcurl sends it for this URL: without the scheme's
 * default port. */
void sigv4_add_host(struct buf *out, const char *url);

struct sigv4_request { /* borrowed, for the time of the call */
    const char *method;
    const char *url;  /* complete, as it is sent */
    const void *body; /* NULL: none */
    size_t len;
};
/* Appends the headers that the request needs, each a line that ends in a line break: Host,
 * X-Amz-Date, X-Amz-Content-Sha256, X-Amz-Security-Token, Authorization. */
bool sigv4_sign(const struct sigv4 *s, const struct sigv4_request *r, time_t now, struct buf *out,
                struct err *e);
