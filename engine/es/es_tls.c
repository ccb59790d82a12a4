/* es_tls: certificates: which of the server's are trusted, our own, and what is wrong when a
 * handshake fails. */
#include "es/es_security.h"

#include "base/err.h"

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

/* ---- during the handshake ---- */

static void watch(int sent, int version, int type, const void *data, size_t len, SSL *ssl,
                  void *arg)
{
    struct es_handshake *h = arg;
    const unsigned char *bytes = data;
    (void)version, (void)ssl;
    if (type == SSL3_RT_HEADER && !sent && len >= 2 && bytes[1] != SSL3_VERSION_MAJOR)
        h->not_tls = true;
    if (type != SSL3_RT_ALERT || len != 2 || bytes[0] != SSL3_AL_FATAL)
        return;
    if (sent)
        h->our_alert = true;
    else
        h->alert = bytes[1];
}

static void write_fingerprint(const X509 *certificate, char out[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    out[0] = '\0';
    if (X509_digest(certificate, EVP_sha256(), digest, &n) == 1 && n == 32)
        for (unsigned int i = 0; i < n; i++)
            snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

/* Ignores colons and case. */
static bool same_fingerprint(const char *given, const char *found)
{
    for (; *given; given++)
        if (*given != ':' && (*given | 0x20) != *found++)
            return false;
    return *found == '\0';
}

/* The certificate with the fingerprint becomes the only trusted one, and the chain is then verified
 * as usual. Checking only that it is in the chain would accept anybody who sends a copy of it. */
static int verify_by_fingerprint(X509_STORE_CTX *ctx, void *arg)
{
    struct es_handshake *h = arg;
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(ctx), *trusted = sk_X509_new_null();
    for (int i = 0; trusted && i < sk_X509_num(sent); i++) {
        write_fingerprint(sk_X509_value(sent, i), h->found);
        if (same_fingerprint(h->security->ca_fingerprint, h->found))
            sk_X509_push(trusted, sk_X509_value(sent, i));
    }
    h->unknown_fingerprint = sk_X509_num(trusted) <= 0;
    /* the certificates still belong to the chain */
    X509_STORE_CTX_set0_trusted_stack(ctx, trusted);
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    int ok = trusted ? X509_verify_cert(ctx) : 0;
    sk_X509_free(trusted);
    return ok > 0;
}

static CURLcode prepare(CURL *curl, void *ssl, void *arg)
{
    struct es_handshake *h = arg;
    (void)curl;
    SSL_CTX_set_msg_callback(ssl, watch);
    SSL_CTX_set_msg_callback_arg(ssl, h);
    if (h->security->verify && h->security->ca_fingerprint)
        SSL_CTX_set_cert_verify_callback(ssl, verify_by_fingerprint, h);
    return CURLE_OK;
}

/* ---- a handle ---- */

static CURLcode set_certificates(const struct es_security *s, CURL *curl)
{
    CURLcode code = CURLE_OK;
    if (s->ca || s->ca_fingerprint) { /* instead of the system's list, not in addition */
        code = curl_easy_setopt(curl, CURLOPT_CAINFO, s->ca);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
#if LIBCURL_VERSION_NUM >= 0x075700 /* otherwise it is read once a day */
        curl_easy_setopt(curl, CURLOPT_CA_CACHE_TIMEOUT, 0L);
#endif
    }
    if (code == CURLE_OK && s->client_cert)
        code = curl_easy_setopt(curl, CURLOPT_SSLCERT, s->client_cert);
    if (code == CURLE_OK && s->client_cert) /* one file may contain both */
        code =
            curl_easy_setopt(curl, CURLOPT_SSLKEY, s->client_key ? s->client_key : s->client_cert);
    if (code == CURLE_OK) /* otherwise OpenSSL asks for a key's password on the terminal */
        code = curl_easy_setopt(curl, CURLOPT_KEYPASSWD, "");
    return code;
}

bool es_security_apply(const struct es_security *s, struct es_handshake *h, CURL *curl,
                       struct err *e)
{
    *h = (struct es_handshake){.security = s};
    CURLcode code = set_certificates(s, curl);
    if (code != CURLE_OK)
        return err_memory(e);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, (long)s->verify);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, s->verify ? 2L : 0L);
    code = curl_easy_setopt(curl, CURLOPT_SSL_CTX_DATA, h);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, prepare);
    return code == CURLE_OK || !s->ca_fingerprint ||
           err_set(e, ERR_FINAL,
                   "cannot verify by ca_fingerprint: this libcurl was built without OpenSSL");
}

void es_security_begin(struct es_handshake *h)
{
    *h = (struct es_handshake){.security = h->security};
}

/* ---- what went wrong ---- */

static bool is_unknown_authority(long result)
{
    return result == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
           result == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
           result == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
           result == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
           result == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
}

static bool report_certificate(const struct es_handshake *h, CURL *curl, const char *url,
                               struct err *e)
{
    const struct es_security *s = h->security;
    long result = 0;
    curl_easy_getinfo(curl, CURLINFO_SSL_VERIFYRESULT, &result);
    if (h->unknown_fingerprint) {
        err_set(e, ERR_FINAL, "cannot trust %s: none of its certificates has the ca_fingerprint",
                url);
        return err_hint(e, "the last one that the server presents has %s", h->found);
    }
    /* libcurl compares the names itself */
    if (result == X509_V_OK || result == X509_V_ERR_UNSPECIFIED) {
        err_set(e, ERR_FINAL, "cannot trust %s: its certificate is for another host name", url);
        return err_hint(e, "the host in sink.url must be one that the certificate names");
    }
    const char *reason = X509_verify_cert_error_string(result);
    if (is_unknown_authority(result) && s->ca) {
        err_set(e, ERR_FINAL,
                "cannot trust %s: the authority in '%s' did not sign its certificate (%s)", url,
                s->ca, reason);
        return err_hint(
            e, "set ca = \"FILE\" in sink (or ELASTICSEARCH_CA) to the authority that did");
    }
    if (is_unknown_authority(result)) {
        err_set(e, ERR_FINAL, "cannot trust %s: no known authority signed its certificate (%s)",
                url, reason);
        return err_hint(
            e, "set ca = \"FILE\" in sink (or ELASTICSEARCH_CA) to the authority's certificate");
    }
    err_set(e, ERR_FINAL, "cannot trust %s: %s", url, reason);
    if (result == X509_V_ERR_CERT_HAS_EXPIRED || result == X509_V_ERR_CERT_NOT_YET_VALID)
        err_hint(e, "renew the server's certificate, or correct this machine's clock");
    return false;
}

enum { CERTIFICATE_REQUIRED = 116, INTERNAL_ERROR = 80 }; /* of TLS 1.3; RFC 8446, section 6 */

static bool report_alert(const struct es_handshake *h, const char *url, struct err *e)
{
    const char *reason = h->alert == CERTIFICATE_REQUIRED ? "certificate required"
                                                          : SSL_alert_desc_string_long(h->alert);
    bool ours = h->alert == CERTIFICATE_REQUIRED || (h->alert >= 42 && h->alert <= 46) ||
                h->alert == 48 ||
                h->alert == 40; /* all alerts about certificates; 40: handshake failure */
    if (h->alert == INTERNAL_ERROR)
        return err_set(e, ERR_PASSING, "could not reach %s: the TLS handshake broke off (%s)", url,
                       reason);
    err_set(e, ERR_FINAL, "cannot reach %s: it refuses our TLS handshake (%s)", url, reason);
    return !ours
               ? false
               : err_hint(
                     e,
                     "it may require %s client certificate: set client_cert and client_key in sink",
                     h->security->client_cert ? "another" : "a");
}

static bool report_handshake(const struct es_handshake *h, const char *url, struct err *e)
{
    if (h->not_tls) {
        err_set(e, ERR_FINAL, "cannot reach %s: the server does not speak TLS", url);
        return err_hint(e, "check the port, or use http:// instead of https://");
    }
    if (h->our_alert)
        return err_set(
            e, ERR_FINAL,
            "cannot reach %s: OpenSSL on this machine accepts none of its TLS versions and ciphers",
            url);
    return err_set(e, ERR_PASSING, "could not reach %s: the TLS handshake broke off", url);
}

bool es_security_failed(const struct es_handshake *h, CURL *curl, CURLcode code, const char *url,
                        struct err *e)
{
    const struct es_security *s = h->security;
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
        report_certificate(h, curl, url, e);
        return true;
    case CURLE_SSL_CERTPROBLEM:
        err_set(e, ERR_FINAL, "cannot use the client certificate '%s' with the key '%s'",
                s->client_cert, s->client_key ? s->client_key : s->client_cert);
        err_hint(e,
                 "both must be PEM files that belong together, and the key must not be encrypted");
        return true;
    case CURLE_SSL_CACERT_BADFILE:
        err_set(e, ERR_FINAL, "cannot read certificates from %s%s%s",
                s->ca ? "'" : "the system's list", s->ca ? s->ca : "", s->ca ? "'" : "");
        err_hint(e, s->ca ? "ca must name a file of certificates in PEM"
                          : "install the package ca-certificates, or set ca = \"FILE\" in sink");
        return true;
    case CURLE_SSL_CONNECT_ERROR:
        h->alert ? report_alert(h, url, e) : report_handshake(h, url, e);
        return true;
    default: /* with TLS 1.3, the server refuses our certificate only after the handshake */
        return h->alert && !report_alert(h, url, e);
    }
}
