#include "es/sigv4.h"

#include "base/buf.h"
#include "base/err.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIGEST = 32, /* bytes of a SHA-256 */
    HEX = 2 * DIGEST + 1,
    PARAMETERS = 64, /* in a query: ours have at most 3 */
    REQUEST_MAX = 1 << 20,
    DATE = 17, /* "20150830T123600Z" */
};

bool sigv4_scope(struct sigv4 *s, const char *text)
{
    static const char prefix[] = "aws:amz:";
    if (strncmp(text, prefix, sizeof prefix - 1) != 0)
        return false;
    const char *region = text + sizeof prefix - 1, *colon = strchr(region, ':');
    size_t len = colon ? (size_t)(colon - region) : 0, rest = colon ? strlen(colon + 1) : 0;
    if (len == 0 || len >= SIGV4_NAME || rest == 0 || rest >= SIGV4_NAME || strchr(colon + 1, ':'))
        return false;
    memcpy(s->region, region, len);
    s->region[len] = '\0';
    memcpy(s->service, colon + 1, rest + 1);
    return true;
}

/* ---- a canonical request ---- */

static const char *host_of(const char *url, size_t *len)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    *len = strcspn(host, "/?#");
    return host;
}

void sigv4_add_host(struct buf *out, const char *url)
{
    size_t len;
    const char *host = host_of(url, &len),
               *usual = strncasecmp(url, "https:", 6) == 0 ? ":443" : ":80";
    size_t tail = strlen(usual);
    if (len > tail && memcmp(host + len - tail, usual, tail) == 0)
        len -= tail;
    buf_add(out, host, len);
}

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

static void add_encoded(struct buf *out, char c)
{
    if (is_unreserved(c))
        buf_addc(out, c);
    else
        buf_addf(out, "%%%02X", (unsigned char)c);
}

/* Encodes the path once more than it is sent, as every service but S3 requires. */
static void add_path(struct buf *out, const char *path, size_t len)
{
    if (len == 0)
        buf_addc(out, '/');
    for (size_t i = 0; i < len; i++)
        if (path[i] == '/')
            buf_addc(out, '/');
        else
            add_encoded(out, path[i]);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Encodes a part of a query again: what is written as %2c, %2C and ',' becomes the same. */
static void add_parameter(struct buf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        int high = text[i] == '%' && i + 2 < len ? hex_digit(text[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
        if (low >= 0)
            i += 2;
        add_encoded(out, low >= 0 ? (char)(high * 16 + low) : text[i]);
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "b=2&a" becomes "a=&b=2". */
static void add_query(struct buf *out, const char *query)
{
    struct buf all;
    size_t starts[PARAMETERS], n = 0;
    const char *sorted[PARAMETERS];
    buf_init(&all, REQUEST_MAX);
    while (*query && n < PARAMETERS) {
        size_t len = strcspn(query, "&#"), name = strcspn(query, "=&#");
        starts[n++] = all.len;
        add_parameter(&all, query, name);
        buf_addc(&all, '\1'); /* in place of '=' for sorting: it is lower than any byte of a name */
        if (name < len)
            add_parameter(&all, query + name + 1, len - name - 1);
        buf_addc(&all, '\0');
        query += len + (query[len] == '&');
    }
    out->failed |= all.failed;
    for (size_t i = 0; i < n && !all.failed; i++)
        sorted[i] = all.data + starts[i];
    if (!all.failed)
        qsort(sorted, n, sizeof *sorted, by_text);
    for (size_t i = 0; i < n && !all.failed; i++) {
        const char *equal = strchr(sorted[i], '\1');
        buf_adds(out, i > 0 ? "&" : "");
        buf_add(out, sorted[i], (size_t)(equal - sorted[i]));
        buf_addc(out, '=');
        buf_adds(out, equal + 1);
    }
    buf_free(&all);
}

/* ---- the signature ---- */

static void to_hex(const unsigned char *bytes, char out[HEX])
{
    for (size_t i = 0; i < DIGEST; i++) {
        out[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    out[HEX - 1] = '\0';
}

static bool hash(const void *data, size_t len, char out[HEX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    bool ok = EVP_Digest(data ? data : "", len, digest, NULL, EVP_sha256(), NULL) == 1;
    if (ok)
        to_hex(digest, out);
    return ok;
}

static bool seal(const void *key, size_t key_len, const char *text, size_t len,
                 unsigned char out[DIGEST])
{
    unsigned int n = 0;
    return HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text, len, out, &n) !=
               NULL &&
           n == DIGEST;
}

/* Signs: HMAC over HMAC makes the key of this day, region and service, then the signature. */
static bool sign(const struct sigv4 *s, const char *date, const struct buf *text, char out[HEX])
{
    unsigned char k[DIGEST];
    struct buf secret;
    buf_init(&secret, REQUEST_MAX);
    buf_adds(&secret, "AWS4");
    buf_adds(&secret, s->secret);
    bool ok = !secret.failed && seal(secret.data, secret.len, date, 8, k) &&
              seal(k, DIGEST, s->region, strlen(s->region), k) &&
              seal(k, DIGEST, s->service, strlen(s->service), k) &&
              seal(k, DIGEST, "aws4_request", 12, k) && seal(k, DIGEST, text->data, text->len, k);
    buf_free(&secret);
    if (ok)
        to_hex(k, out);
    return ok;
}

struct parts { /* what is signed and repeated in the headers */
    struct buf host;
    char date[DATE], body[HEX];
};

static const char *signed_headers(const struct sigv4 *s)
{
    return s->token ? "host;x-amz-content-sha256;x-amz-date;x-amz-security-token"
                    : "host;x-amz-content-sha256;x-amz-date";
}

static void add_request(struct buf *b, const struct sigv4 *s, const struct sigv4_request *r,
                        const struct parts *p)
{
    size_t len;
    const char *path = host_of(r->url, &len) + len;
    size_t path_len = strcspn(path, "?#");
    buf_addf(b, "%s\n", r->method);
    add_path(b, path, path_len);
    buf_addc(b, '\n');
    if (path[path_len] == '?')
        add_query(b, path + path_len + 1);
    buf_adds(b, "\nhost:");
    buf_add(b, p->host.data, p->host.len);
    buf_addf(b, "\nx-amz-content-sha256:%s\nx-amz-date:%s\n", p->body, p->date);
    if (s->token) {
        buf_adds(b, "x-amz-security-token:");
        buf_adds(b, s->token);
        buf_addc(b, '\n');
    }
    buf_addf(b, "\n%s\n%s", signed_headers(s), p->body);
}

static void add_headers(struct buf *out, const struct sigv4 *s, const struct parts *p,
                        const char *signature)
{
    buf_adds(out, "Host: ");
    buf_add(out, p->host.data, p->host.len);
    buf_addf(out, "\nX-Amz-Date: %s\nX-Amz-Content-Sha256: %s\n", p->date, p->body);
    if (s->token) {
        buf_adds(out, "X-Amz-Security-Token: ");
        buf_adds(out, s->token);
        buf_addc(out, '\n');
    }
    buf_addf(
        out,
        "Authorization: AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request, SignedHeaders=%s, "
        "Signature=%s\n",
        s->key_id, p->date, s->region, s->service, signed_headers(s), signature);
}

bool sigv4_sign(const struct sigv4 *s, const struct sigv4_request *r, time_t now, struct buf *out,
                struct err *e)
{
    struct parts p;
    struct buf request, text;
    struct tm tm;
    char digest[HEX], signature[HEX];
    buf_init(&p.host, REQUEST_MAX);
    buf_init(&request, REQUEST_MAX);
    buf_init(&text, REQUEST_MAX);
    gmtime_r(&now, &tm);
    strftime(p.date, sizeof p.date, "%Y%m%dT%H%M%SZ", &tm);
    sigv4_add_host(&p.host, r->url);
    bool ok = !p.host.failed && hash(r->body, r->len, p.body);
    if (ok)
        add_request(&request, s, r, &p);
    ok = ok && !request.failed && hash(request.data, request.len, digest);
    if (ok)
        buf_addf(&text, "AWS4-HMAC-SHA256\n%s\n%.8s/%s/%s/aws4_request\n%s", p.date, p.date,
                 s->region, s->service, digest);
    ok = ok && !text.failed && sign(s, p.date, &text, signature);
    if (ok)
        add_headers(out, s, &p, signature);
    buf_free(&p.host);
    buf_free(&request);
    buf_free(&text);
    return (ok && !out->failed) || err_memory(e);
}
