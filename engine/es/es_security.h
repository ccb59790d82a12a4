/* es_security: who we are to the search server, and how we know that it is the right one.
 *
 * Uses     libcurl, OpenSSL, secret, sigv4, err, buf, log.
 * Threads  a struct es_security is read-only once it has been read; a handshake belongs to one
 *          connection.
 * Promise  no message holds a secret. The server's certificate is always verified, unless the user
 *          says that it shall not be, and is then warned. A certificate that is not right is final,
 *          with its reason.
 *
 *     es_security.c   what is given, and the headers that it makes
 *     es_tls.c        certificates, and what a failed handshake means
 *     es_privilege.c  what a user needs for a request
 */
#pragma once
#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

struct err;
struct sigv4_request;

/* As the script gives it (pipeline), or with all that the environment says (es_security_read).
 * Texts are owned; NULL: not given. */
struct es_security {
    char *user, *password, *api_key, *bearer_token;
    /* "aws:amz:REGION:SERVICE"; user and password are the keys, then */
    char *aws_sigv4, *session_token;
    char *ca, *ca_fingerprint, *client_cert, *client_key;
    bool verify;
};

/* Each setting from the environment (secret.h; ELASTICSEARCH_PASSWORD for password, and so on),
 * else as given. With aws_sigv4, keys that are not given are AWS_ACCESS_KEY_ID,
 * AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. Warns if verify is false. in_url: the server's URL
 * names a user. False, ERR_USAGE: what is given contradicts itself, or cannot be right. */
bool es_security_read(struct es_security *s, const struct es_security *given, bool in_url,
                      struct err *e);
void es_security_free(struct es_security *s); /* bears a zeroed struct */

/* The first field that differs, such as "sink.user"; NULL: none does. */
const char *es_security_changed(const struct es_security *a, const struct es_security *b);
/* Whether requests carry something that nobody else may read. */
bool es_security_is_secret(const struct es_security *s);

/* ---- a connection ---- */

struct es_handshake {                   /* bears being zeroed */
    const struct es_security *security; /* borrowed */
    int alert;                          /* the server's, that ended the connection; 0: none */
    bool our_alert, not_tls;            /* we ended it; what answered speaks something else */
    bool unknown_fingerprint;
    char found[65]; /* the fingerprint of the last certificate that was presented, then */
};

/* Prepares a handle. h: borrowed, as long as the handle lives. */
bool es_security_apply(const struct es_security *s, struct es_handshake *h, CURL *curl,
                       struct err *e);

/* User and password: userpwd is that of the URL, "user:password" or NULL; what else is given is
 * stronger. */
bool es_security_login(const struct es_security *s, CURL *curl, const char *userpwd, struct err *e);

/* Adds the headers that authenticate this request to *list, which the caller owns and frees, on
 * failure too. */
bool es_security_headers(const struct es_security *s, const struct sigv4_request *r,
                         struct curl_slist **list, struct err *e);

/* Before each request. */
void es_security_begin(struct es_handshake *h);
/* Whether libcurl's code is about certificates or TLS; e then says how. url: for the message. */
bool es_security_failed(const struct es_handshake *h, CURL *curl, CURLcode code, const char *url,
                        struct err *e);

/* ---- a refusal ---- */

/* The remedy for a request that was forbidden: which privileges it takes, in the words of both
 * search servers. path: of the request, behind a prefix or not. */
const char *es_security_privilege(const char *method, const char *path);
