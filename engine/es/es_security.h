/* es_security: authentication and TLS: how the search server knows us, and how we know the server.
 *
 * Uses     libcurl, OpenSSL, secret, sigv4, err, buf.
 * Threads  a struct es_security is read-only once it has been read; a handshake belongs to one
 *          connection.
 * Promise  no message contains a secret. The server's certificate is always verified, unless the
 *          user disables that, with a warning. A certificate that cannot be trusted is final, with
 *          the reason.
 *
 *     es_security.c   the settings, and the headers made of them
 *     es_tls.c        certificates, and what a failed handshake means
 *     es_privilege.c  the privilege that a request requires
 */
#pragma once
#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

struct err;
struct sigv4_request;

enum { ES_SECURITY_TEXTS = 9 }; /* the settings that a script can give, but for verify */

/* As set by the script (pipeline), or together with the environment (es_security_read). Texts are
 * owned; NULL: not set. */
struct es_security {
    char *user, *password, *api_key, *bearer_token;
    /* "aws:amz:REGION:SERVICE"; user and password then are the access keys */
    char *aws_sigv4, *session_token;
    char *ca, *ca_fingerprint, *client_cert, *client_key;
    bool verify;
    /* Where the script gives each of them, as words for a message, "sink.api_key (movies.lua:5,
     * variable KEY)"; and where the url, the last one. NULL: the field's name is all there is to
     * say. Of a script alone: es_security_read does not copy them. */
    char *places[ES_SECURITY_TEXTS + 1];
};

/* Reads each setting from the environment (secret.h; ELASTICSEARCH_PASSWORD for password, and so
 * on), or else takes it as given. With aws_sigv4, missing keys are AWS_ACCESS_KEY_ID,
 * AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. in_url: the server's URL names a user. False,
 * ERR_USAGE: the settings contradict each other, or one is invalid. */
bool es_security_read(struct es_security *s, const struct es_security *given, bool in_url,
                      struct err *e);
void es_security_free(struct es_security *s); /* safe on a zeroed struct */

/* Returns the first field that differs, such as "sink.user"; NULL: none does. */
const char *es_security_changed(const struct es_security *a, const struct es_security *b);
/* The i-th of the settings that a script can give, and its field, "sink.user". */
char **es_security_text(struct es_security *s, size_t i);
const char *es_security_field(size_t i);
/* Where the i-th of them comes from, as words for a message, if it is set and authenticates us: a
 * file or a variable of the environment, else *field, of the script. False: it does neither. */
bool es_security_place(const struct es_security *s, size_t i, const char **field, char *out,
                       size_t size);
/* The path of the file of the environment that its value is read from. False: from elsewhere. */
bool es_security_file(const struct es_security *s, size_t i, char *out, size_t size);
/* What looks wrong about them, as words for a message, static, once the server has refused them;
 * NULL: nothing does. */
const char *es_security_doubt(const struct es_security *s);
/* Whether requests contain something that nobody else may read. */
bool es_security_is_secret(const struct es_security *s);

/* ---- a connection ---- */

struct es_handshake {                   /* safe to zero */
    const struct es_security *security; /* borrowed */
    int alert;               /* the server's TLS alert that ended the connection; 0: none */
    bool our_alert, not_tls; /* we ended it by an alert; the server does not speak TLS */
    bool unknown_fingerprint;
    char found[65]; /* then: the fingerprint of the last certificate that was presented */
};

/* Prepares a handle. h: borrowed, as long as the handle lives. */
bool es_security_apply(const struct es_security *s, struct es_handshake *h, CURL *curl,
                       struct err *e);

/* Sets user and password: userpwd is that of the URL, "user:password" or NULL; the other settings
 * override it. */
bool es_security_login(const struct es_security *s, CURL *curl, const char *userpwd, struct err *e);

/* Adds the headers that authenticate this request to *list, which the caller owns and frees, on
 * failure too. */
bool es_security_headers(const struct es_security *s, const struct sigv4_request *r,
                         struct curl_slist **list, struct err *e);

/* Call it before each request. */
void es_security_begin(struct es_handshake *h);
/* Whether libcurl's code is about certificates or TLS; e then says what is wrong. url: for the
 * message. */
bool es_security_failed(const struct es_handshake *h, CURL *curl, CURLcode code, const char *url,
                        struct err *e);

/* ---- a refusal ---- */

/* The privilege that a forbidden request requires, in the words of both search servers; NULL: not
 * known. path: of the request, with or without a prefix. */
const char *es_security_privilege(const char *method, const char *path);
