#include "es/es_security.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "es/sigv4.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- settings ---- */

enum kind { TEXT, FILE_PATH };

/* All settings but verify. */
static const struct setting {
    const char *field, *variable;
    enum kind kind;
    size_t offset;
} settings[] = {
#define AT(member) offsetof(struct es_security, member)
    {"sink.user", "ELASTICSEARCH_USER", TEXT, AT(user)},
    {"sink.password", "ELASTICSEARCH_PASSWORD", TEXT, AT(password)},
    {"sink.api_key", "ELASTICSEARCH_API_KEY", TEXT, AT(api_key)},
    {"sink.bearer_token", "ELASTICSEARCH_BEARER_TOKEN", TEXT, AT(bearer_token)},
    {"sink.aws_sigv4", "ELASTICSEARCH_AWS_SIGV4", TEXT, AT(aws_sigv4)},
    {"sink.ca", "ELASTICSEARCH_CA", FILE_PATH, AT(ca)},
    {"sink.ca_fingerprint", "ELASTICSEARCH_CA_FINGERPRINT", TEXT, AT(ca_fingerprint)},
    {"sink.client_cert", "ELASTICSEARCH_CLIENT_CERT", FILE_PATH, AT(client_cert)},
    {"sink.client_key", "ELASTICSEARCH_CLIENT_KEY", FILE_PATH, AT(client_key)},
};
/* These three are read together, so that one key's parts cannot come from different places. */
static const struct setting amazon[] = {
    {"sink.user", "AWS_ACCESS_KEY_ID", TEXT, AT(user)},
    {"sink.password", "AWS_SECRET_ACCESS_KEY", TEXT, AT(password)},
    {"the session token", "AWS_SESSION_TOKEN", TEXT, AT(session_token)},
#undef AT
};
enum { API_KEY = 2, BEARER_TOKEN = 3 }; /* of settings */
enum { SETTINGS = ES_SECURITY_TEXTS, AMAZON = sizeof amazon / sizeof *amazon };
static_assert(sizeof settings / sizeof *settings == SETTINGS, "es_security.h says how many");

static char **text_of(const struct es_security *s, const struct setting *setting)
{
    return (char **)((char *)s + setting->offset);
}

static bool check_text(const struct setting *t, const char *text, struct err *e)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7F)
            return err_set(e, ERR_USAGE,
                           "%s (%s) contains a line break or another control character", t->field,
                           t->variable);
    return true;
}

static bool from_environment(struct es_security *s, const struct setting *t, struct err *e)
{
    struct buf value;
    bool found = false;
    buf_init(&value, SECRET_MAX);
    bool ok = t->kind == FILE_PATH ? secret_path(t->variable, &value, &found, e)
                                   : secret_read(t->variable, &value, &found, e);
    if (ok && found) {
        const char *text = buf_cstr(&value);
        *text_of(s, t) = text ? strdup(text) : NULL;
        ok = *text_of(s, t) ? check_text(t, text, e) : err_memory(e);
    }
    buf_free(&value);
    return ok;
}

static bool from_script(struct es_security *s, const struct es_security *given,
                        const struct setting *t, struct err *e)
{
    const char *text = *text_of(given, t);
    if (!text)
        return true;
    *text_of(s, t) = strdup(text);
    if (!*text_of(s, t))
        return err_memory(e);
    return check_text(t, text, e) && (t->kind != FILE_PATH || secret_check_file(t->field, text, e));
}

static bool read_verify(struct es_security *s, const struct es_security *given, struct err *e)
{
    const char *text = getenv("ELASTICSEARCH_VERIFY");
    bool none = !text || !*text, on = !none && strcmp(text, "true") == 0,
         off = !none && strcmp(text, "false") == 0;
    s->verify = on || (!off && given->verify);
    return none || on || off ||
           err_set(e, ERR_USAGE, "ELASTICSEARCH_VERIFY must be 'true' or 'false', not '%.40s'",
                   text);
}

/* ---- settings that exclude or require each other ---- */

static bool exclude(const char *a, const char *b, struct err *e)
{
    err_set(e, ERR_USAGE, "the search server is given %s and %s, which exclude each other", a, b);
    return err_hint(e, "look in sink in the script, and at ELASTICSEARCH_... in the environment");
}

static bool check_who(const struct es_security *s, bool in_url, struct err *e)
{
    const char *user = s->user       ? "user"
                       : s->password ? "password"
                       : in_url      ? "a user in the url"
                                     : NULL;
    const char *token = s->api_key ? "api_key" : s->bearer_token ? "bearer_token" : NULL;
    if (s->api_key && s->bearer_token)
        return exclude("api_key", "bearer_token", e);
    if (token && s->aws_sigv4)
        return exclude(token, "aws_sigv4", e);
    if (token && user)
        return exclude(token, user, e);
    if (s->aws_sigv4 && in_url)
        return exclude("aws_sigv4", "a user in the url", e);
    if (s->password && !s->user && !in_url)
        return err_set(e, ERR_USAGE, "the search server is given a password, but no user") ||
               err_hint(e, "set user = \"...\" in sink, or ELASTICSEARCH_USER");
    return true;
}

/* The engine adds the scheme: twice, it is refused with a 401 that says nothing of it. */
static bool check_scheme(const char *text, const char *scheme, size_t i, struct err *e)
{
    if (!text || strncasecmp(text, scheme, strlen(scheme)) != 0)
        return true;
    err_set(e, ERR_USAGE, "%s (%s) begins with '%s'", settings[i].field, settings[i].variable,
            scheme);
    return err_hint(e, "leave that out: it is added to each request");
}

static bool check_tokens(const struct es_security *s, struct err *e)
{
    return check_scheme(s->api_key, "ApiKey ", API_KEY, e) &&
           check_scheme(s->bearer_token, "Bearer ", BEARER_TOKEN, e);
}

static bool check_amazon(const struct es_security *s, struct err *e)
{
    struct sigv4 scope;
    if (!s->aws_sigv4)
        return true;
    if (!sigv4_scope(&scope, s->aws_sigv4)) {
        err_set(e, ERR_USAGE, "sink.aws_sigv4 is '%.60s' instead of aws:amz:REGION:SERVICE",
                s->aws_sigv4);
        return err_hint(e, "for example aws:amz:eu-central-1:es");
    }
    if (s->user && s->password)
        return true;
    err_set(e, ERR_USAGE, "sink.aws_sigv4 needs an access key, and none is set");
    return err_hint(
        e, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or user and password in sink");
}

static bool is_fingerprint(const char *text)
{
    size_t digits = 0;
    for (; *text; text++)
        if (strchr("0123456789abcdefABCDEF", *text))
            digits++;
        else if (*text != ':')
            return false;
    return digits == 64;
}

static bool check_certificates(const struct es_security *s, struct err *e)
{
    if (s->ca && s->ca_fingerprint)
        return exclude("ca", "ca_fingerprint", e);
    if (!s->verify && (s->ca || s->ca_fingerprint))
        return exclude("verify = false", s->ca ? "ca" : "ca_fingerprint", e);
    if (s->client_key && !s->client_cert)
        return err_set(e, ERR_USAGE, "the search server is given client_key, but no client_cert");
    if (!s->ca_fingerprint || is_fingerprint(s->ca_fingerprint))
        return true;
    err_set(e, ERR_USAGE,
            "sink.ca_fingerprint is not a SHA-256 fingerprint of 64 hexadecimal digits");
    return err_hint(e, "it is printed by: openssl x509 -fingerprint -sha256 -noout -in CA.pem");
}

static bool read_all(struct es_security *s, const struct es_security *given, struct err *e)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (!from_environment(s, &settings[i], e) ||
            (!*text_of(s, &settings[i]) && !from_script(s, given, &settings[i], e)))
            return false;
    bool no_key = s->aws_sigv4 && !s->user && !s->password;
    for (size_t i = 0; no_key && i < AMAZON; i++)
        if (!from_environment(s, &amazon[i], e))
            return false;
    return read_verify(s, given, e);
}

bool es_security_read(struct es_security *s, const struct es_security *given, bool in_url,
                      struct err *e)
{
    *s = (struct es_security){0};
    if (!read_all(s, given, e) || !check_who(s, in_url, e) || !check_tokens(s, e) ||
        !check_amazon(s, e) || !check_certificates(s, e)) {
        es_security_free(s);
        return false;
    }
    return true;
}

void es_security_free(struct es_security *s)
{
    for (size_t i = 0; i < SETTINGS; i++)
        free(*text_of(s, &settings[i]));
    free(s->session_token);
    for (size_t i = 0; i <= SETTINGS; i++)
        free(s->places[i]);
    *s = (struct es_security){0};
}

const char *es_security_changed(const struct es_security *a, const struct es_security *b)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        const char *x = *text_of(a, &settings[i]), *y = *text_of(b, &settings[i]);
        if (x != y && (!x || !y || strcmp(x, y) != 0))
            return settings[i].field;
    }
    return a->verify != b->verify ? "sink.verify" : NULL;
}

char **es_security_text(struct es_security *s, size_t i)
{
    return text_of(s, &settings[i]);
}

const char *es_security_field(size_t i)
{
    return settings[i].field;
}

/* Of an access key's parts the script's come first. */
static const char *amazons_variable(size_t i)
{
    return i < AMAZON ? amazon[i].variable : "";
}

bool es_security_place(const struct es_security *s, size_t i, const char **field, char *out,
                       size_t size)
{
    const struct setting *t = &settings[i];
    bool names_us = t->offset != offsetof(struct es_security, aws_sigv4) &&
                    t->offset != offsetof(struct es_security, ca) &&
                    t->offset != offsetof(struct es_security, ca_fingerprint) &&
                    t->offset != offsetof(struct es_security, client_key);
    *field = t->field;
    if (!names_us || !*text_of(s, t))
        return false;
    if (!secret_place(t->variable, out, size) &&
        !(s->aws_sigv4 && secret_place(amazons_variable(i), out, size)))
        snprintf(out, size, "%s", t->field);
    return true;
}

bool es_security_file(const struct es_security *s, size_t i, char *out, size_t size)
{
    return secret_file(settings[i].variable, out, size) ||
           (s->aws_sigv4 && i < AMAZON && secret_file(amazon[i].variable, out, size));
}

bool es_security_is_secret(const struct es_security *s)
{
    return (s->password && !s->aws_sigv4) || s->api_key || s->bearer_token;
}

/* ---- the requests ---- */

bool es_security_login(const struct es_security *s, CURL *curl, const char *userpwd, struct err *e)
{
    CURLcode code = curl_easy_setopt(curl, CURLOPT_USERPWD, userpwd);
    if (code == CURLE_OK && s->user && !s->aws_sigv4)
        code = curl_easy_setopt(curl, CURLOPT_USERNAME, s->user);
    if (code == CURLE_OK && s->password && !s->aws_sigv4)
        code = curl_easy_setopt(curl, CURLOPT_PASSWORD, s->password);
    return code == CURLE_OK || err_memory(e);
}

static bool add_line(struct curl_slist **list, const char *line, struct err *e)
{
    struct curl_slist *longer = line ? curl_slist_append(*list, line) : NULL;
    if (!longer)
        return err_memory(e);
    *list = longer;
    return true;
}

/* "id:key" in base64, unless it is encoded: the server issues both forms. */
static bool add_api_key(struct buf *line, const char *key)
{
    size_t len = strlen(key);
    buf_adds(line, "Authorization: ApiKey ");
    if (!strchr(key, ':'))
        return buf_adds(line, key);
    if (!buf_reserve(line, 4 * (len / 3 + 1) + 1))
        return false;
    line->len += (size_t)EVP_EncodeBlock((unsigned char *)line->data + line->len,
                                         (const unsigned char *)key, (int)len);
    return true;
}

/* Whether it is base64 of something with a colon. */
static bool is_encoded_pair(const char *key)
{
    size_t len = strlen(key);
    unsigned char *out = len % 4 == 0 ? malloc(len / 4 * 3 + 1) : NULL;
    if (!out)
        return len % 4 == 0; /* no memory: no doubt */
    int n = EVP_DecodeBlock(out, (const unsigned char *)key, (int)len);
    bool pair = n > 0 && memchr(out, ':', (size_t)n);
    OPENSSL_cleanse(out, len / 4 * 3 + 1);
    free(out);
    return pair;
}

const char *es_security_doubt(const struct es_security *s)
{
    if (!s->api_key || strchr(s->api_key, ':') || is_encoded_pair(s->api_key))
        return NULL;
    return "the API key is neither 'id:key' nor that in base64: is its id missing?";
}

static bool add_signature(const struct es_security *s, const struct sigv4_request *r,
                          struct curl_slist **list, struct err *e)
{
    struct sigv4 signer = {.key_id = s->user, .secret = s->password, .token = s->session_token};
    struct buf lines;
    buf_init(&lines, 2 * SECRET_MAX);
    sigv4_scope(&signer, s->aws_sigv4);
    bool ok = sigv4_sign(&signer, r, time(NULL), &lines, e);
    char *rest = ok ? (char *)buf_cstr(&lines) : NULL, *line;
    while (ok && (line = strsep(&rest, "\n")))
        ok = !*line || add_line(list, line, e);
    buf_free(&lines);
    return ok;
}

bool es_security_headers(const struct es_security *s, const struct sigv4_request *r,
                         struct curl_slist **list, struct err *e)
{
    if (s->aws_sigv4)
        return add_signature(s, r, list, e);
    if (!s->api_key && !s->bearer_token)
        return true;
    struct buf line;
    buf_init(&line, 2 * SECRET_MAX);
    if (s->api_key) {
        add_api_key(&line, s->api_key);
    } else {
        buf_adds(&line, "Authorization: Bearer ");
        buf_adds(&line, s->bearer_token);
    }
    bool ok = add_line(list, buf_cstr(&line), e);
    buf_free(&line);
    return ok;
}
