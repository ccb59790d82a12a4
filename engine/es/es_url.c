#include "es/es_url.h"

#include "base/err.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* does not quote the URL: it may contain a password */
static bool bad_url(struct err *e, const char *why)
{
    return err_set(e, ERR_USAGE, "not a search server's URL (http://HOST:9200): %s", why);
}

static bool is_loopback(const char *host)
{
    size_t len = strlen(host);
    return (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == len) ||
           strcmp(host, "[::1]") == 0 || strcasecmp(host, "localhost") == 0 ||
           (len > 10 && strcasecmp(host + len - 10, ".localhost") == 0);
}

/* In our own words, where something is known to do. */
static const char *reason_of(CURLUcode code)
{
    return code == CURLUE_BAD_PORT_NUMBER ? "its port is not a number from 1 to 65535"
           : code == CURLUE_NO_HOST       ? "it has no host"
                                          : "its host, user or path is malformed";
}

/* Copies one part of the URL into *out: owned; NULL if it has none. */
static bool take_part(CURLU *u, CURLUPart part, unsigned flags, char **out, struct err *e)
{
    char *text = NULL;
    CURLUcode code = curl_url_get(u, part, &text, flags);
    *out = NULL;
    if (code == CURLUE_NO_USER || code == CURLUE_NO_PASSWORD || code == CURLUE_NO_QUERY ||
        code == CURLUE_NO_FRAGMENT)
        return true;
    if (code == CURLUE_OUT_OF_MEMORY)
        return err_memory(e);
    if (code != CURLUE_OK)
        return bad_url(e, reason_of(code));
    *out = strdup(text);
    curl_free(text);
    return *out ? true : err_memory(e);
}

static bool take_credentials(CURLU *u, struct es_url *s, struct err *e)
{
    char *user = NULL, *password = NULL;
    bool ok = take_part(u, CURLUPART_USER, CURLU_URLDECODE, &user, e) &&
              take_part(u, CURLUPART_PASSWORD, CURLU_URLDECODE, &password, e);
    if (ok && (user || password) &&
        asprintf(&s->userpwd, "%s:%s", user ? user : "", password ? password : "") < 0) {
        s->userpwd = NULL;
        ok = err_memory(e);
    }
    free(user);
    free(password);
    curl_url_set(u, CURLUPART_USER, NULL, 0);
    curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
    return ok;
}

static bool refuse_part(CURLU *u, CURLUPart part, const char *why, struct err *e)
{
    char *text = NULL;
    bool ok = take_part(u, part, 0, &text, e);
    if (ok && text)
        ok = bad_url(e, why);
    free(text);
    return ok;
}

static bool read_host(CURLU *u, struct es_url *s, struct err *e)
{
    char *scheme = NULL, *host = NULL;
    bool ok =
        take_part(u, CURLUPART_SCHEME, 0, &scheme, e) && take_part(u, CURLUPART_HOST, 0, &host, e);
    if (ok && strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0)
        ok = bad_url(e, "it begins neither with http:// nor with https://");
    if (ok)
        s->loopback = is_loopback(host);
    free(scheme);
    free(host);
    return ok;
}

static const char spaces[] = " \t\r\n", between[] = ", \t\r\n";

/* Finds the next URL of a list, at *at or later: its length; *at moves to where it begins. 0: there
 * is none. Nothing, or space, between two commas is no URL. */
static size_t find_url(const char **at)
{
    const char *text = *at += strspn(*at, between), *comma = text;
    size_t len = strlen(text);
    while ((comma = strchr(comma, ','))) {
        const char *after = comma + strspn(comma, between);
        if (!*after || strncasecmp(after, "http://", 7) == 0 ||
            strncasecmp(after, "https://", 8) == 0) {
            len = (size_t)(comma - text);
            break;
        }
        comma++;
    }
    while (len > 0 && strchr(spaces, text[len - 1]))
        len--;
    return len;
}

/* The host and port of a URL that need not be well-formed: its length; *host: where it begins. A
 * password may have any character. */
static size_t find_host(const char *url, const char **host)
{
    const char *at = strstr(url, "://");
    *host = at ? at + 3 : url;
    size_t len = strcspn(*host, "/?#");
    at = memrchr(*host, '@', len);
    if (!at)
        return len;
    len -= (size_t)(at + 1 - *host);
    *host = at + 1;
    return len;
}

/* Whether another URL seems to follow the host: "http://a:1,b:2", "http://a:1;http://b:2". */
static bool is_list_of_another_form(const char *url)
{
    const char *host;
    size_t len = find_host(url, &host);
    return strstr(url, "://") && strcspn(host, ",; \t\r\n|") < len;
}

/* "http://::1:9200" */
static bool is_bare_ipv6(const char *url)
{
    const char *host;
    size_t len = find_host(url, &host);
    const char *colon = memchr(host, ':', len);
    return strstr(url, "://") && *host != '[' && colon &&
           memchr(colon + 1, ':', len - (size_t)(colon + 1 - host));
}

static bool check_form(const char *url, struct err *e)
{
    if (is_list_of_another_form(url)) {
        bad_url(e, "it goes on after its host");
        return err_hint(e, "several nodes are written with a comma between two, each with its "
                           "http:// or https://");
    }
    return !is_bare_ipv6(url) ||
           bad_url(e, "an IPv6 address stands in brackets: http://[::1]:9200");
}

/* What is shown and requested must mean the same when it is parsed again: libcurl accepts anything
 * as an IPv6 zone, even an '@'. */
static bool check_whole(CURLU *u, const struct es_url *s, struct err *e)
{
    char *again = NULL;
    /* a '/' in the password: the text before it was taken for host and port */
    if (strchr(s->text, '@'))
        return bad_url(e, "there is an '@' after its host");
    CURLUcode code = curl_url_set(u, CURLUPART_URL, s->text, 0);
    bool ok = code == CURLUE_OK &&
              refuse_part(u, CURLUPART_USER, "there is an '@' in its host", e) &&
              take_part(u, CURLUPART_URL, 0, &again, e);
    if (code == CURLUE_OUT_OF_MEMORY)
        return err_memory(e);
    if (code != CURLUE_OK || (ok && strcmp(again, s->text) != 0))
        ok = bad_url(e, "its host is invalid");
    free(again);
    return ok;
}

static bool parse(CURLU *u, struct es_url *s, const char *url, struct err *e)
{
    if (!check_form(url, e))
        return false;
    CURLUcode code = curl_url_set(u, CURLUPART_URL, url, 0);
    if (code == CURLUE_OUT_OF_MEMORY)
        return err_memory(e);
    if (code == CURLUE_UNSUPPORTED_SCHEME || (code != CURLUE_OK && !strstr(url, "://")))
        return bad_url(e, "it begins neither with http:// nor with https://");
    if (code != CURLUE_OK)
        return bad_url(e, reason_of(code));
    if (!read_host(u, s, e) || !take_credentials(u, s, e) ||
        !refuse_part(u, CURLUPART_QUERY, "it has a query (?...)", e) ||
        !refuse_part(u, CURLUPART_FRAGMENT, "it has a fragment (#...)", e) ||
        !take_part(u, CURLUPART_URL, 0, &s->text, e) || !check_whole(u, s, e))
        return false;
    for (size_t len = strlen(s->text); len > 0 && s->text[len - 1] == '/'; len--)
        s->text[len - 1] = '\0';
    /* as it is after libcurl's repairs: it takes "http:/h" for "http://h" */
    const char *whole = s->text;
    if (find_url(&whole) != strlen(s->text))
        return bad_url(e, "its path ends in a comma, or contains another URL");
    return check_form(s->text, e);
}

static bool parse_one(struct es_url *s, const char *text, size_t len, struct err *e)
{
    char *url = strndup(text, len);
    CURLU *u = curl_url();
    bool ok = url && u ? parse(u, s, url, e) : err_memory(e);
    if (!ok && e->kind == ERR_USAGE && !*e->hint && strchr(url, '@'))
        err_hint(e, "characters such as / ? # @ : %% in a user or password have to be "
                    "percent-encoded: %%2F for /");
    curl_url_cleanup(u);
    free(url);
    return ok;
}

static size_t count_urls(const char *text)
{
    size_t n = 0;
    for (size_t len; (len = find_url(&text)) > 0; n++)
        text += len;
    return n;
}

bool es_urls_parse(const char *text, struct es_url **list, size_t *n, struct err *e)
{
    size_t all = count_urls(text);
    *n = 0;
    *list = NULL;
    if (all == 0)
        return bad_url(e, "it is empty");
    if (!(*list = calloc(all, sizeof **list)))
        return err_memory(e);
    for (size_t len; (len = find_url(&text)) > 0; text += len) {
        if (parse_one(&(*list)[(*n)++], text, len, e))
            continue;
        if (all > 1)
            err_wrap(e, "URL %zu of %zu", *n, all);
        es_urls_free(*list, *n);
        *list = NULL;
        *n = 0;
        return false;
    }
    return true;
}

void es_urls_free(struct es_url *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(list[i].text);
        free(list[i].userpwd);
    }
    free(list);
}
