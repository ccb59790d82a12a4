#include "init/safe_url.h"

#include <libpq-fe.h>
#include <string.h>

static bool is_secret(const char *keyword, size_t len)
{
    static const char *const secrets[] = {"password", "sslpassword", "scram_client_key",
                                          "scram_server_key", "oauth_client_secret"};
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
        if (strlen(secrets[i]) == len && strncmp(secrets[i], keyword, len) == 0)
            return true;
    return false;
}

/* ---- postgresql://user:secret@host/db?sslpassword=secret ---- */

/* The part after the ?, without secrets. */
static const char *safe_query(struct arena *a, const char *query, bool *had)
{
    const char *text = "";
    while (*query) {
        size_t len = strcspn(query, "&");
        if (is_secret(query, strcspn(query, "=&")))
            *had = true;
        else
            text = arena_textf(a, "%s%s%.*s", text, *text ? "&" : "?", (int)len, query);
        query += len + (query[len] == '&');
    }
    return text;
}

static const char *safe_uri(struct arena *a, const char *url, bool *had)
{
    const char *authority = strstr(url, "://") + 3;
    size_t user = strcspn(authority, "@/?");
    const char *host = authority, *colon = memchr(authority, ':', user);
    size_t kept = 0;
    if (authority[user] == '@') {
        *had = colon != NULL;
        kept = colon ? (size_t)(colon - authority) : user;
        host = authority + user + (kept == 0);
    }
    size_t end = strcspn(host, "?");
    return arena_textf(a, "%.*s%.*s%.*s%s", (int)(authority - url), url, (int)kept, authority,
                       (int)end, host, host[end] ? safe_query(a, host + end + 1, had) : "");
}

/* ---- host=... password=... ---- */

/* host=db, or application_name='a b' */
static const char *add_keyword(struct arena *a, const char *text, const PQconninfoOption *o)
{
    text = arena_textf(a, "%s%s%s=", text, *text ? " " : "", o->keyword);
    if (*o->val && !strpbrk(o->val, " '\\\t\n"))
        return arena_textf(a, "%s%s", text, o->val);
    text = arena_textf(a, "%s'", text);
    for (const char *at = o->val; *at; at++)
        text = arena_textf(a, "%s%s%c", text, *at == '\'' || *at == '\\' ? "\\" : "", *at);
    return arena_textf(a, "%s'", text);
}

const char *safe_url(struct arena *a, const char *url, bool *had)
{
    *had = false;
    if (strstr(url, "://"))
        return safe_uri(a, url, had);
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    const char *text = "";
    for (const PQconninfoOption *o = options; o && o->keyword; o++) {
        if (!o->val)
            continue;
        if (is_secret(o->keyword, strlen(o->keyword)))
            *had = true;
        else
            text = add_keyword(a, text, o);
    }
    PQconninfoFree(options);
    return text;
}
