/* es_credentials: who we are to the search server at present, and where that comes from: so that a
 * secret that has another value in its file is used without a restart.
 *
 * Uses     es_security, es_url, secret_text, secret, renewal, hash, err.
 * Threads  any: one lock for each struct es_credentials; an identity is read-only.
 * Promise  what is used is a whole: never one file's old content with another one's new. A request
 *          that was refused is told to try again only if what it was sent with has changed since.
 *
 *     const struct es_identity *me = es_credentials_take(c);   // for requests, as long as it lasts
 *     if (refused && es_credentials_renew(c, me)) ...          // take another one, and ask again
 *     es_identity_drop(me);
 */
#pragma once
#include "es/es_security.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct es_url;

struct es_identity {
    atomic_int users;
    struct es_security security;
    struct es_url *urls; /* owned: with the users and passwords in them */
    size_t n_urls;
    uint64_t certificates; /* a hash of the content of ca, client_cert, client_key */
};

struct es_credentials;

/* url: as es_urls_parse accepts it. Without es_credentials_secure, only its users and passwords
 * authenticate us. NULL: e says why. */
struct es_credentials *es_credentials_new(const char *url, struct err *e);
void es_credentials_free(struct es_credentials *c); /* NULL is fine */

/* Sets authentication and TLS, as given by the script or by the environment: see es_security_read.
 * What other threads use already stays valid until they drop it. */
bool es_credentials_secure(struct es_credentials *c, const struct es_security *given,
                           struct err *e);
/* The same, with another url: its nodes must be those that there were. False, ERR_USAGE: they are
 * not, and nothing has changed. */
bool es_credentials_replace(struct es_credentials *c, const char *url,
                            const struct es_security *given, struct err *e);

/* The present identity; the caller drops it. */
const struct es_identity *es_credentials_take(struct es_credentials *c);
bool es_credentials_is_current(struct es_credentials *c, const struct es_identity *id);
void es_identity_drop(const struct es_identity *id); /* NULL is fine */

/* The server has done what a request asked for: from now on, a refusal may pass. */
void es_credentials_accept(struct es_credentials *c);
bool es_credentials_were_accepted(const struct es_credentials *c);
/* The server refuses `used`. Reads all files again, unless another thread has done so since. True:
 * the identity is another one by now. */
bool es_credentials_renew(struct es_credentials *c, const struct es_identity *used);
/* Where they come from, as words for a message: "variable ELASTICSEARCH_USER and file '/key'".
 * Empty: there are none. */
void es_credentials_places(struct es_credentials *c, char *out, size_t size);
