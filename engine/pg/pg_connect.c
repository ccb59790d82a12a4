/* pg_connect: the server's label and parameters, connecting, and what a failed connect means. */
#include "pg/pg_internal.h"

#include "base/log.h"
#include "base/stop.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    /* seconds of silence, for each host; connect_timeout and PGCONNECT_TIMEOUT override it */
    CONNECT_TIMEOUT_S = 10,
    OLDEST_SERVER = 100000, /* version 10 */
    MAX_RENEWALS = 3,       /* of the credentials, for one connection */
    LABEL_MAX = 4096,       /* bytes; err cuts off what is too long to print */
};

/* ---- the server's label ---- */

/* A '/' in a password that is not percent-encoded makes libpq take the text before it for host and
 * port, and the rest for the database: its messages, and our label, would then print the
 * password. */
static bool is_torn_url(const char *url)
{
    const char *authority = strstr(url, "://");
    const char *slash = authority ? strpbrk(authority + 3, "/?@") : NULL;
    if (!slash || *slash != '/')
        return false;
    const char *at = strpbrk(slash, "@?");
    return at && *at == '@';
}

/* "mysql://h/db", "POSTGRES://h/db": libpq would take it for a database name, or for keywords. */
static bool is_other_scheme(const char *url)
{
    size_t len = strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    return strncmp(url + len, "://", 3) == 0 && strncmp(url, "postgresql:", 11) != 0 &&
           strncmp(url, "postgres:", 9) != 0;
}

/* "user:secret@host/name", without its scheme: libpq would take all of it for a database name. */
static bool is_bare_address(const char *url)
{
    return !pg_url_is_whole(url) && strpbrk(url, "@:/");
}

static bool bad_url(const char *url, const char *reason, struct err *e)
{
    err_set(e, ERR_USAGE, "invalid source.url: %s", reason);
    if (!strstr(url, "://") || is_other_scheme(url))
        return err_hint(e, "expected is a URL, postgresql://user@host:port/name, or keywords such "
                           "as host=... dbname=...");
    if (strstr(reason, "query parameter") && !strchr(reason, '%'))
        return err_hint(e, "after '?' stand parameters of libpq, NAME=VALUE with '&' between two, "
                           "such as sslmode=require; in a value, write %%3D for =");
    return err_hint(e, "percent-encode characters such as / ? # @ : %% in the password of a "
                       "URL: %%2F for /");
}

/* URLs of other programs: "jdbc:postgresql://h/db?user=u", SQLAlchemy's
 * "postgresql+psycopg2://...". */
static bool is_foreign_url(const char *url, struct err *e)
{
    static const char form[] = "libpq's form is postgresql://USER:PASSWORD@HOST:PORT/DATABASE: ";
    bool jdbc = strncasecmp(url, "jdbc:", 5) == 0;
    if (!jdbc && strncmp(url, "postgresql+", 11) != 0 && strncmp(url, "postgres+", 9) != 0)
        return false;
    bad_url(url, jdbc ? "it is a JDBC URL" : "it names a driver, as SQLAlchemy's URLs do", e);
    err_hint(e, "%s%s", form,
             jdbc ? "leave out 'jdbc:'; write user and password before the host, or set PGUSER "
                    "and PGPASSWORD"
                  : "leave out what is between 'postgresql' and '://'");
    return true;
}

/* libpq's reason for refusing the string, without the parts that it quotes: they may be part of the
 * password. */
static bool refuse_url(const char *url, const char *libpq_says, struct err *e)
{
    char text[PG_REASON], shown[PG_REASON];
    pg_one_line(libpq_says ? libpq_says : "out of memory", text, sizeof text);
    if (!strstr(url, "://") && !strstr(url, "pas")) /* such as "pasword=x y" */
        return bad_url(url, text, e);
    size_t n = 0;
    bool quoted = false;
    for (const char *p = text; *p; p++) {
        if (*p == '"' && !quoted && n + 6 < sizeof shown)
            n += (size_t)snprintf(shown + n, sizeof shown - n, "\"...\"");
        quoted ^= *p == '"';
        if (*p != '"' && !quoted && n + 1 < sizeof shown)
            shown[n++] = *p;
    }
    shown[n] = '\0';
    return bad_url(url, shown, e);
}

static const char *option(const PQconninfoOption *list, const char *keyword)
{
    for (; list && list->keyword; list++)
        if (strcmp(list->keyword, keyword) == 0)
            return list->val && list->val[0] ? list->val : NULL;
    return NULL;
}

static bool ports_are_numbers(const char *ports)
{
    while (ports && *ports) {
        char *end;
        long port = strtol(ports, &end, 10);
        if (end != ports && (port < 1 || port > 65535))
            return false;
        if (*end && *end != ',')
            return false;
        ports = *end ? end + 1 : end;
    }
    return true;
}

static bool bad_port(const char *url, const char *ports, struct err *e)
{
    bad_url(url, "the port is not a number from 1 to 65535", e);
    return strchr(ports, ':') && !strchr(ports, '@')
               ? err_hint(e, "an IPv6 address stands in brackets: postgresql://[::1]:5432/name")
               : false;
}

/* "a:5432,b:5433"; a folder means the socket in it. */
static void add_hosts(struct buf *b, const char *hosts, const char *ports)
{
    const char *port = ports;
    for (const char *host = hosts;; host++) {
        int host_len = (int)strcspn(host, ","), port_len = (int)strcspn(port, ",");
        const char *pattern = host[0] == '/' ? "%.*s/.s.PGSQL.%.*s" : "%.*s:%.*s";
        buf_addf(b, pattern, host_len, host, port_len, port);
        host += host_len;
        if (!*host)
            return;
        buf_addc(b, ',');
        port = port[port_len] ? port + port_len + 1 : strchr(ports, ',') ? port + port_len : ports;
    }
}

/* given: what the URL says; rest: what the environment and libpq's defaults supply. A service in
 * the URL may set anything, but only libpq reads service files. */
static char *make_label(const PQconninfoOption *given, const PQconninfoOption *rest,
                        const char *plain_name)
{
    const char *service = option(given, "service");
    const PQconninfoOption *fill = service ? NULL : rest;
    const char *host = option(given, "host"), *port = option(given, "port"),
               *name = option(given, "dbname");
    host = host ? host : option(given, "hostaddr");
    host = host ? host : option(fill, "host") ? option(fill, "host") : option(fill, "hostaddr");
    port = port ? port : option(fill, "port") ? option(fill, "port") : "5432";
    name = name ? name : plain_name[0] ? plain_name : option(fill, "dbname");
    if (!name && !service) /* the database has the user's name */
        name = option(given, "user") ? option(given, "user") : option(fill, "user");
    struct buf b;
    buf_init(&b, LABEL_MAX);
    if (service)
        buf_addf(&b, "of service '%s'", service);
    else
        buf_addf(&b, "'%s' at ", name ? name : "");
    if (!service && host)
        add_hosts(&b, host, port);
    else if (!service)
        buf_addf(&b, "the local socket, port %s", port);
    char *label = buf_cstr(&b) ? strdup(b.data) : NULL;
    buf_free(&b);
    return label;
}

static bool wants_primary(const PQconninfoOption *given, const PQconninfoOption *rest)
{
    const PQconninfoOption *fill = option(given, "service") ? NULL : rest;
    const char *host = option(given, "host") ? option(given, "host") : option(given, "hostaddr");
    host = host ? host : option(fill, "host") ? option(fill, "host") : option(fill, "hostaddr");
    return host && strchr(host, ',') && !getenv("PGTARGETSESSIONATTRS");
}

static bool fill_server(struct pg_server *s, const char *url, const PQconninfoOption *given,
                        struct err *e)
{
    PQconninfoOption *rest = PQconndefaults();
    s->label = make_label(given, rest, given ? "" : url);
    s->wants_primary = wants_primary(given, rest);
    s->share = pg_share_get(url);
    bool ok = s->label && s->share;
    PQconninfoFree(rest);
    return ok ? true : err_memory(e);
}

bool pg_server_replace(struct pg_server *s, const char *url, struct err *e)
{
    return pg_url_replace(&s->share->url, url, e);
}

bool pg_server_init(struct pg_server *s, const char *url, struct err *e)
{
    *s = (struct pg_server){0};
    PQconninfoOption *given = NULL;
    char *reason = NULL;
    if (is_foreign_url(url, e))
        return false;
    if (is_other_scheme(url))
        return bad_url(url, "it begins neither with postgresql:// nor with postgres://", e);
    if (is_bare_address(url))
        return bad_url(url, "it does not begin with postgresql://", e);
    if (is_torn_url(url))
        return bad_url(url, "there is a '/' before the '@'", e);
    if (pg_url_is_whole(url) && !(given = PQconninfoParse(url, &reason))) {
        refuse_url(url, reason, e);
        PQfreemem(reason);
        return false;
    }
    const char *host = option(given, "host");
    bool ok;
    /* "@name" is a socket in the abstract namespace */
    if (host && strchr(host, '@') && host[0] != '@')
        ok = bad_url(url, "there are two '@'", e);
    else if (!ports_are_numbers(option(given, "port")))
        ok = bad_port(url, option(given, "port"), e);
    else
        ok = fill_server(s, url, given, e);
    PQconninfoFree(given);
    if (!ok)
        pg_server_free(s);
    return ok;
}

bool pg_url_database(const char *url, char *out, size_t size)
{
    PQconninfoOption *given = pg_url_is_whole(url) ? PQconninfoParse(url, NULL) : NULL,
                     *rest = PQconndefaults();
    const char *name = pg_url_is_whole(url) ? option(given, "dbname") : url;
    if (!name || !*name)
        name = option(rest, "dbname");
    if (name)
        snprintf(out, size, "%s", name);
    PQconninfoFree(given);
    PQconninfoFree(rest);
    return name != NULL;
}

void pg_server_free(struct pg_server *s)
{
    pg_share_leave(s);
    free(s->label);
    free(s->place);
    *s = (struct pg_server){0};
}

/* ---- what a failed connect means ---- */

/* Remedies by SQLSTATE. */
static const struct {
    const char *sqlstate, *hint;
} remedies[] = {
    {"28P01", "check the password in source.url, PGPASSWORD or the passfile"},
    {"28000", "check the user in source.url, and pg_hba.conf on the server"},
    {"3D000", "check the database name in source.url, or create the database: createdb NAME"},
    {"53300", "use fewer --workers, or raise the server's max_connections or the user's connection "
              "limit"},
};

/* Remedies by the text of the reason; the first match counts. They are more precise than those by
 * SQLSTATE. */
static const struct {
    const char *words, *hint;
} text_remedies[] = {
    {"max_wal_senders", "raise the server's max_wal_senders"},
    {"hot standby mode",
     "of several servers the primary is used; target_session_attrs=any in source.url takes any"},
    {"does not support SSL",
     "set up TLS on the server, or remove sslmode from source.url (or PGSSLMODE)"},
    {"certificate verify failed",
     "sslrootcert in source.url must name the certificate of the authority that signed the "
     "server's, and neither may have expired"},
    {"does not match host name",
     "the host in source.url must be one that the server's certificate names"},
    {"requires a valid client certificate", "set sslcert and sslkey in source.url"},
    {"alert unknown ca",
     "the server does not know the authority of the certificate that sslcert in source.url names"},
    {"no encryption", "set sslmode=require, or better verify-full, in source.url"},
    {", SSL off", "set sslmode=require, or better verify-full, in source.url"}, /* before 14 */
};

/* Failures on our side, for which libpq gives no code. Its texts are not translated unless a
 * program calls setlocale for messages. If a text is missing here, we only keep trying, and say
 * so. */
static const char *const refusals[] = {"does not support SSL",  "certificate",
                                       "private key file",      "invalid target_session_attrs",
                                       "alert unknown ca",      "alert handshake failure",
                                       "alert protocol version"};
static const char *const losses[] = {"server closed the connection",
                                     "could not receive data",
                                     "could not send data",
                                     "SYSCALL error",
                                     "Connection reset",
                                     "unexpected eof"};

/* PgBouncer uses one code, 08P01, for everything: for these errors, which are final, and for a
 * server that is down. */
static const char pooler_says[] = "08P01";
static const struct {
    const char *words, *hint;
} pooler_refusals[] = {
    {"unsupported startup parameter",
     "remove it from source.url (options, PGOPTIONS) and set it for the role: ALTER ROLE ... SET "
     "... TO ...; or have the pooler ignore it: ignore_startup_parameters"},
    {"no such database",
     "check the database name in source.url, and [databases] in the pooler's settings"},
    {"no such user", "check the user in source.url, and auth_file in the pooler's settings"},
    {"authentication failed", "check the password in source.url, PGPASSWORD or the passfile"},
    {"SSL required", "set sslmode=require, or better verify-full, in source.url"},
};

struct failure {
    char sqlstate[6];       /* the one that decides; empty: none */
    char reason[PG_REASON]; /* one line */
    size_t len;
};

static bool has_one_of(const char *text, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strstr(text, words[i]))
            return true;
    return false;
}

/* Finds where "SEVERITY: CODE: " (with two spaces) ends, which verbose messages have in every
 * language, and copies the SQLSTATE into code. NULL: it is not there. */
static const char *find_sqlstate(const char *line, char code[6])
{
    for (const char *p = line; (p = strstr(p, ":  ")); p++)
        if (strspn(p + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 &&
            strncmp(p + 8, ": ", 2) == 0) {
            memcpy(code, p + 3, 5);
            code[5] = '\0';
            return p + 10;
        }
    return NULL;
}

static void add_reason(struct failure *f, const char *where, size_t where_len, const char *what)
{
    /* the same reason is repeated for each address of a host */
    if (f->len > 0 && strstr(f->reason, what))
        return;
    int n = snprintf(f->reason + f->len, sizeof f->reason - f->len, "%s%.*s%s",
                     f->len > 0 ? "; " : "", (int)where_len, where, what);
    f->len =
        n < 0 || (size_t)n >= sizeof f->reason - f->len ? sizeof f->reason - 1 : f->len + (size_t)n;
}

/* Reads a line of libpq's message: "connection to server at "h" (a), port p failed: WHY", a
 * continuation, advice (indented), or a field of the server's error ("LOCATION: auth_failed,
 * auth.c:326", in any language). */
static void read_line(struct failure *f, const char *line, bool several_hosts)
{
    char code[6];
    const char *failed =
        strncmp(line, "connection to server ", 21) == 0 ? strstr(line, " failed: ") : NULL;
    const char *what = failed ? failed + 9 : line, *primary = find_sqlstate(line, code);
    size_t where = several_hosts ? (size_t)(what - line) : 0;
    if (line[0] == '\t' || line[0] == '\0' || (!primary && strstr(line, ":  ")))
        return;
    if (primary &&
        /* one host that may become available is enough */
        (!f->sqlstate[0] || pg_error_kind(code) == ERR_PASSING))
        memcpy(f->sqlstate, code, sizeof code);
    add_reason(f, line, where, primary ? primary : what);
}

static void read_failure(struct failure *f, const char *message, bool several_hosts)
{
    char line[2 * PG_REASON];
    *f = (struct failure){0};
    while (*message) {
        size_t len = strcspn(message, "\n");
        snprintf(line, sizeof line, "%.*s", (int)len, message);
        read_line(f, line, several_hosts);
        message += len + (message[len] == '\n');
    }
}

struct attempt {
    const char *url;    /* borrowed */
    bool wants_primary; /* see pg.h */
    int64_t timeout_ms; /* of silence; -1: no limit */
    bool several_hosts, any_session;
    bool silent;  /* the timeout ended it */
    bool crowded; /* no more sessions are allowed */
    bool unknown; /* the user, or its password, is refused */
    bool reached; /* more than an unanswered socket: worth a PQping */
};

/* The parameters: ours first, so that the URL overrides them; client_encoding after it, so that it
 * is always UTF-8. */
struct parameters {
    const char *keywords[12], *values[12];
};

static struct parameters make_parameters(const struct attempt *a, const char *replication)
{
    /* libpq's word before version 14 */
    const char *primary = PQlibVersion() < 140000 ? "read-write" : "primary";
    return (struct parameters){
        .keywords = {"fallback_application_name", "keepalives", "keepalives_idle",
                     "keepalives_interval", "keepalives_count", "tcp_user_timeout",
                     "target_session_attrs", "dbname", "client_encoding", "replication"},
        /* A lost peer is noticed within a minute: after 30 s of silence and 3 probes, or 60,000 ms
         * without an acknowledgement. */
        .values = {"etl-engine", "1", "30", "10", "3", "60000", a->wants_primary ? primary : NULL,
                   a->url, "UTF8", replication},
    };
}

static void set_timeout(struct parameters *p, const char *seconds)
{
    size_t n = 0;
    while (p->keywords[n])
        n++;
    p->keywords[n] = "connect_timeout";
    p->values[n] = seconds;
}

/* Whether the server refuses us, when no SQLSTATE says so. PQping blocks, so it is called only if
 * nothing else decides, and for at most 2 s a host, libpq's minimum. */
static bool is_refusal(struct pg *pg, const struct failure *f, const struct attempt *a)
{
    if (PQconnectionNeedsPassword(pg->conn) ||
        has_one_of(f->reason, refusals, sizeof refusals / sizeof refusals[0]))
        return true;
    if (!a->any_session || has_one_of(f->reason, losses, sizeof losses / sizeof losses[0]))
        return false; /* a primary was requested, and a standby answered: it may be promoted */
    struct parameters p = make_parameters(a, NULL);
    set_timeout(&p, "2");
    PGPing ping = PQpingParams(p.keywords, p.values, 1);
    return ping == PQPING_OK || ping == PQPING_NO_ATTEMPT;
}

/* The remedy for a pooler's final refusal, or NULL. */
static const char *find_pooler_remedy(const struct failure *f)
{
    for (size_t i = 0; i < sizeof pooler_refusals / sizeof pooler_refusals[0]; i++)
        if (strcmp(f->sqlstate, pooler_says) == 0 && strstr(f->reason, pooler_refusals[i].words))
            return pooler_refusals[i].hint;
    return NULL;
}

static const char *find_remedy(const struct failure *f)
{
    if (find_pooler_remedy(f))
        return find_pooler_remedy(f);
    for (size_t i = 0; i < sizeof text_remedies / sizeof text_remedies[0]; i++)
        if (strstr(f->reason, text_remedies[i].words))
            return text_remedies[i].hint;
    for (size_t i = 0; i < sizeof remedies / sizeof remedies[0]; i++)
        if (strcmp(f->sqlstate, remedies[i].sqlstate) == 0)
            return remedies[i].hint;
    return NULL;
}

/* The role may connect, but not read the log: the words up to PostgreSQL 15, and from 16 on. */
static bool is_refused_log(const struct failure *f)
{
    return strstr(f->reason, "to start walsender") || strstr(f->reason, "to start WAL sender");
}

/* PgBouncer before version 1.23. */
static bool report_pooler(struct pg *pg, const struct failure *f, struct err *e)
{
    if (strcmp(f->sqlstate, pooler_says) != 0 ||
        !strstr(f->reason, "unsupported startup parameter: replication"))
        return false;
    err_set(e, ERR_USAGE,
            "cannot read the log of PostgreSQL %s: a pooler answers there, which refuses "
            "replication connections",
            pg->server->label);
    err_hint(e, "source.url has to lead past the pooler, to the server itself; PgBouncer passes "
                "them on from version 1.23 on");
    return true;
}

/* PgBouncer says so without a code of its own. */
static bool is_crowded(const struct failure *f)
{
    return strcmp(f->sqlstate, "53300") == 0 || strstr(f->reason, "no more connections allowed");
}

/* The user or the password: what a file may have another one of. */
static bool is_unknown(const struct failure *f)
{
    return strcmp(f->sqlstate, "28P01") == 0 || strcmp(f->sqlstate, "28000") == 0 ||
           (strcmp(f->sqlstate, pooler_says) == 0 &&
            (strstr(f->reason, "authentication failed") || strstr(f->reason, "no such user")));
}

/* Where the refused password comes from, into out. False: from elsewhere. */
static bool password_place(const struct pg_server *s, const char *url, char *out, size_t size)
{
    PQconninfoOption *given = pg_url_is_whole(url) ? PQconninfoParse(url, NULL) : NULL;
    const char *variable = getenv("PGPASSWORD");
    bool in_url = option(given, "password"), elsewhere = option(given, "service");
    PQconninfoFree(given);
    if (in_url)
        snprintf(out, size, "%s", s->place ? s->place : "source.url");
    else if (variable && *variable && !elsewhere)
        snprintf(out, size, "variable PGPASSWORD");
    else
        return false;
    return true;
}

static bool is_wrong_password(const struct failure *f)
{
    return strcmp(f->sqlstate, "28P01") == 0 || strstr(f->reason, "authentication failed");
}

static void hint_at_failure(struct pg *pg, const struct failure *f, const struct attempt *a,
                            struct err *e)
{
    const char *hint = find_remedy(f);
    char path[250];
    if (a->unknown && pg_url_file(&pg->share->url, path, sizeof path))
        err_hint(e, "the credentials are those in file '%s', which is read again with each try",
                 path);
    else if (is_wrong_password(f) && password_place(pg->server, a->url, path, sizeof path))
        err_hint(e, "check user and password: the password is that in %s", path);
    else if (strcmp(f->sqlstate, "42501") == 0)
        err_hint(e, "allow the user to connect: GRANT CONNECT ON DATABASE %s TO %s", PQdb(pg->conn),
                 PQuser(pg->conn));
    else if (hint)
        err_hint(e, "%s", hint);
    else if (PQconnectionNeedsPassword(pg->conn))
        err_hint(e, "%s", remedies[0].hint);
    else if (!*f->sqlstate && e->kind == ERR_PASSING && !pg->server->accepted)
        err_hint(
            e,
            "check that the server is running, and host and port in source.url, PGHOST and PGPORT");
}

static bool report_refusal(struct pg *pg, struct attempt *a, struct err *e)
{
    struct failure f;
    read_failure(&f, PQerrorMessage(pg->conn), a->several_hosts);
    pg->server->answered |= *f.sqlstate;
    a->crowded = is_crowded(&f);
    a->unknown = is_unknown(&f);
    if (a->silent)
        snprintf(f.reason, sizeof f.reason, "no answer within %lld s",
                 (long long)a->timeout_ms / 1000);
    else if (PQconnectionNeedsPassword(pg->conn) && !a->several_hosts)
        snprintf(f.reason, sizeof f.reason,
                 /* instead of libpq's "fe_sendauth: ..." */
                 "it requires a password, and none is set");
    pg_scrub(pg->server, pg->conn, f.reason);
    bool final = f.sqlstate[0] ? pg_error_kind(f.sqlstate) == ERR_FINAL || find_pooler_remedy(&f)
                               : a->reached && !a->silent && is_refusal(pg, &f, a);
    if (report_pooler(pg, &f, e))
        return false;
    if (is_refused_log(&f)) {
        err_set(e, ERR_USAGE, "cannot read the log of PostgreSQL %s: %s", pg->server->label,
                f.reason);
        return err_hint(e,
                        "a superuser can run: ALTER ROLE %s REPLICATION; managed servers have a "
                        "role for it, such as rds_replication",
                        PQuser(pg->conn));
    }
    if (final && !pg->server->accepted)
        err_set(e, ERR_FINAL, "cannot connect to PostgreSQL %s: %s", pg->server->label, f.reason);
    else
        err_set(e, ERR_PASSING, "could not connect to PostgreSQL %s: %s", pg->server->label,
                f.reason);
    hint_at_failure(pg, &f, a, e);
    return false;
}

/* ---- connecting ---- */

/* Reads the settings as libpq's blocking connect does: from the URL, a service file, or the
 * environment. */
static void read_attempt(PGconn *conn, struct attempt *a)
{
    PQconninfoOption *list = PQconninfo(conn);
    const char *timeout = option(list, "connect_timeout"),
               *session = option(list, "target_session_attrs");
    const char *host = option(list, "host") ? option(list, "host") : option(list, "hostaddr");
    long seconds = timeout ? strtol(timeout, NULL, 10) : CONNECT_TIMEOUT_S;
    *a = (struct attempt){
        .url = a->url,
        .wants_primary = a->wants_primary,
        .timeout_ms = seconds > 0 ? (int64_t)seconds * 1000 : -1,
        .several_hosts = host && strchr(host, ','),
        .any_session = !session || strcmp(session, "any") == 0,
    };
    PQconninfoFree(list);
}

/* A host that does not accept the connection: when its socket is shut down, libpq tries the next
 * host or address, which its asynchronous interface would otherwise do only after the kernel's two
 * minutes. */
static bool skip_silent_host(PGconn *conn)
{
    return PQstatus(conn) == CONNECTION_STARTED && shutdown(PQsocket(conn), SHUT_RDWR) == 0;
}

/* Host names are resolved within PQconnectStart and PQconnectPoll, which block; all other waiting
 * is done here. */
static bool finish_connect(struct pg *pg, struct attempt *a, struct err *e)
{
    /* as libpq's documentation prescribes */
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;
    while (next != PGRES_POLLING_OK) {
        if (next == PGRES_POLLING_FAILED || PQstatus(pg->conn) == CONNECTION_BAD)
            return report_refusal(pg, a, e);
        short events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        enum stop_wait waited = stop_wait_fd(PQsocket(pg->conn), events, a->timeout_ms);
        if (waited == STOP_ASKED)
            return stop_err(e);
        a->silent = waited == STOP_TIMEOUT;
        if (a->silent && !skip_silent_host(pg->conn))
            return report_refusal(pg, a, e);
        next = PQconnectPoll(pg->conn);
        a->reached |=
            PQstatus(pg->conn) != CONNECTION_STARTED && PQstatus(pg->conn) != CONNECTION_BAD;
    }
    return true;
}

/* Whether libpq gave up before it connected, because its parameters are wrong. If it tried, the
 * message begins with one of these texts. */
static bool was_not_tried(PGconn *conn)
{
    const char *message = PQerrorMessage(conn);
    return PQstatus(conn) == CONNECTION_BAD && strncmp(message, "connection to server", 20) != 0 &&
           strncmp(message, "could not translate host name", 29) != 0;
}

static void log_notice(void *arg, const char *message)
{
    char line[PG_REASON];
    (void)arg;
    log_debug("PostgreSQL says: %s", pg_one_line(message, line, sizeof line));
}

static bool connect_once(struct pg *pg, const char *replication, struct attempt *a, struct err *e)
{
    struct parameters p = make_parameters(a, replication);
    PQfinish(pg->conn);
    pg->conn = PQconnectStartParams(p.keywords, p.values, 1);
    if (!pg->conn)
        return err_memory(e);
    /* otherwise a refusal has no SQLSTATE */
    PQsetErrorVerbosity(pg->conn, PQERRORS_VERBOSE);
    PQsetNoticeProcessor(pg->conn, log_notice, NULL);
    read_attempt(pg->conn, a);
    a->reached = was_not_tried(pg->conn);
    return finish_connect(pg, a, e);
}

/* As long as there are new credentials, but for a file that changes all the time. */
static bool connect_as_anybody(struct pg *pg, const char *replication, bool *crowded, struct err *e)
{
    for (int tries = 0;; tries++) {
        char *url = pg_url_copy(&pg->share->url);
        struct attempt a = {.url = url, .wants_primary = pg->server->wants_primary};
        bool ok = url ? connect_once(pg, replication, &a, e) : err_memory(e),
             again = !ok && a.unknown && tries < MAX_RENEWALS && pg_url_renew(&pg->share->url, url);
        *crowded = !ok && a.crowded;
        free(url);
        if (!again)
            return ok;
    }
}

static bool connect_to(struct pg *pg, const char *replication, bool *crowded, struct err *e)
{
    if (!connect_as_anybody(pg, replication, crowded, e))
        return false;
    PQsetErrorVerbosity(pg->conn, PQERRORS_DEFAULT);
    pg->server->accepted = true;
    if (PQserverVersion(pg->conn) < OLDEST_SERVER) {
        const char *version = PQparameterStatus(pg->conn, "server_version");
        return err_set(
            e, ERR_FINAL,
            "cannot use PostgreSQL %s: version %s is too old; at least version 10 is required",
            pg->server->label, version ? version : "unknown");
    }
    if (PQsetnonblocking(pg->conn, 1) != 0)
        return err_memory(e);
    return true;
}

/* Behind a pooler, the process that answers now is not ours: it may serve another program's next
 * transaction, and is not listed. */
static bool list_session(struct pg *pg, struct err *e)
{
    PGresult *res = NULL;
    if (!pg_query(
            pg,
            "SELECT pg_catalog.pg_backend_pid(), (extract(epoch FROM backend_start) * 1000000)"
            "::pg_catalog.int8 FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())",
            0, NULL, &res, e) ||
        !pg_expect(pg, &res, 1, 2, e))
        return false;
    if (pg_int(res, 0, 0) == PQbackendPID(pg->conn))
        pg_session_remember(pg, pg_int(res, 0, 1));
    PQclear(res);
    return true;
}

static atomic_uint_least64_t opened;

/* replication: the value of libpq's parameter of that name; NULL: an ordinary session. */
static struct pg *open_session(struct pg_server *s, const char *replication, bool *crowded,
                               struct err *e)
{
    struct pg *pg = calloc(1, sizeof *pg);
    if (!pg) {
        err_memory(e);
        return NULL;
    }
    pg->server = s;
    pg->share = s->share;
    pg->serial = atomic_fetch_add(&opened, 1) + 1;
    pg->expected = UINT64_MAX;
    if (connect_to(pg, replication, crowded, e))
        return pg;
    pg_close(pg);
    return NULL;
}

struct pg *pg_open(struct pg_server *s, const struct pg_server *script_of, bool *crowded,
                   struct err *e)
{
    *crowded = false;
    struct pg *pg = open_session(s, NULL, crowded, e);
    if (pg)
        pg->script_of = script_of;
    if (!pg || list_session(pg, e))
        return pg;
    err_wrap(e, "session with PostgreSQL %s", s->label);
    pg_close(pg);
    return NULL;
}

struct pg *pg_open_replication(struct pg_server *s, struct err *e)
{
    bool crowded;
    return open_session(s, "database", &crowded, e);
}
