/* pg_error: what libpq reports, as a struct err. PostgreSQL's failures are classified here and
 * nowhere else. */
#include "pg/pg_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* SQLSTATEs that are passing, by prefix; all others are final: the same statement fails again. */
static const struct {
    const char *prefix, *what;
} passing[] = {
    {"08", "connection exception"},
    {"25006", "read-only transaction: this server is no longer the primary"},
    {"40", "transaction rollback: deadlock, serialization, recovery conflict on a standby"},
    {"53", "insufficient resources: too many clients, disk full, out of memory"},
    {"55P03", "lock not available: lock_timeout"},
    {"57014", "query canceled: statement_timeout, or by an administrator"},
    {"57P", "operator intervention: shutting down, starting up, idle session ended"},
};

enum err_kind pg_error_kind(const char *sqlstate)
{
    for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++)
        if (strncmp(sqlstate, passing[i].prefix, strlen(passing[i].prefix)) == 0)
            return ERR_PASSING;
    return ERR_FINAL;
}

/* What was at fault, by prefix of the SQLSTATE. What no row matches is unknown, and so is any class
 * about the server, the session or the statement. */
static const struct {
    const char *prefix;
    enum err_fault fault;
    const char *what;
} faults[] = {
    {"40001", ERR_FAULT_SIZE,
     "a long query conflicts with what a standby has to replay; serialization"},
    {"40P01", ERR_FAULT_SIZE, "deadlock"},
    {"57014", ERR_FAULT_SIZE, "query canceled: statement_timeout"},
    {"25P04", ERR_FAULT_SIZE, "transaction_timeout"},
    {"53100", ERR_FAULT_SIZE, "disk full: temporary files"},
    {"53200", ERR_FAULT_SIZE, "out of memory"},
    {"53400", ERR_FAULT_SIZE, "configuration limit exceeded: temp_file_limit"},
    {"21", ERR_FAULT_ROW, "more than one row returned by a subquery used as an expression"},
    {"22", ERR_FAULT_ROW,
     "data exception: casts, divisions, ranges, characters that UTF-8 does not have"},
    {"23", ERR_FAULT_ROW, "constraint of a domain"},
    {"2F", ERR_FAULT_ROW, "SQL routine exception"},
    {"38", ERR_FAULT_ROW, "external routine exception: plpython, plperl"},
    {"39", ERR_FAULT_ROW, "external routine invocation exception: what it returned"},
    {"42501", ERR_FAULT_DENIED, "a privilege"},
    {"42", ERR_FAULT_ROW, "without a position in the query: a text cast to tsquery, regclass, ..."},
    {"44", ERR_FAULT_ROW, "check option"},
    {"54", ERR_FAULT_ROW, "a text too long for a tsvector, a value too large, a function too deep"},
    {"P0", ERR_FAULT_ROW, "RAISE, no data found, assertions"},
    {"XX", ERR_FAULT_ROW, "damaged on disk, or larger than memory that can be requested"},
};

/* Whether a user's function made up this SQLSTATE: the class of a code of the standard or of
 * PostgreSQL begins with 0 to 4 or A to H, with these exceptions. */
static bool is_made_up(const char *sqlstate)
{
    static const char *const known[] = {"53", "54", "55", "57", "58", "72", "P0", "XX"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strncmp(sqlstate, known[i], 2) == 0)
            return false;
    char first = sqlstate[0];
    return (first >= '5' && first <= '9') || first >= 'I';
}

/* at: the position of the mistake in the query; if there is one, the server found it before it read
 * a row. inner: the text of another query, within a function, which cannot run for any row. */
static enum err_fault find_fault(const char *sqlstate, const char *at, const char *inner)
{
    bool is_statement = strncmp(sqlstate, "42", 2) == 0;
    if (is_statement && at)
        return ERR_FAULT_SCHEMA;
    if (is_statement && inner)
        return ERR_FAULT_UNKNOWN;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (strncmp(sqlstate, faults[i].prefix, strlen(faults[i].prefix)) == 0)
            return faults[i].fault;
    return is_made_up(sqlstate) ? ERR_FAULT_ROW : ERR_FAULT_UNKNOWN;
}

char *pg_one_line(const char *text, char *out, size_t size)
{
    size_t n = 0;
    while (*text) {
        size_t len = strcspn(text, "\n");
        /* such as "This probably means the server terminated abnormally" */
        bool advice = text[0] == '\t';
        if (len > 0 && !advice && n + 1 < size) {
            int added = snprintf(out + n, size - n, "%s%.*s", n > 0 ? "; " : "", (int)len, text);
            n = added < 0 || (size_t)added >= size - n ? size - 1 : n + (size_t)added;
        }
        text += len + (text[len] == '\n');
    }
    out[n] = '\0';
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    return out;
}

/* Bytes: hiding a shorter secret would mangle the text and hide nothing. */
enum { SHORTEST_SECRET = 3 };

static void hide(char *text, const char *secret)
{
    size_t len = strlen(secret);
    for (char *p = text; (p = strstr(p, secret)); p += 3) {
        memcpy(p, "***", 3);
        memmove(p + 3, p + len, strlen(p + len) + 1);
    }
}

/* A password that equals the user's or the database's name is not hidden: those names are printed
 * anyway, and hiding them would only reveal that they are equal. */
static bool is_worth_hiding(const char *secret, const PGconn *conn)
{
    const char *user = PQuser(conn), *db = PQdb(conn);
    return secret && strlen(secret) >= SHORTEST_SECRET && !(user && strcmp(secret, user) == 0) &&
           !(db && strcmp(secret, db) == 0);
}

struct scrubbing {
    const PGconn *conn;
    char *text;
};

static void hide_if_worth(void *arg, const char *secret)
{
    struct scrubbing *s = arg;
    if (is_worth_hiding(secret, s->conn))
        hide(s->text, secret);
}

void pg_scrub(const struct pg_server *s, const PGconn *conn, char *text)
{
    struct scrubbing scrubbing = {conn, text};
    pg_url_hide(&s->share->url, hide_if_worth, &scrubbing);
    hide_if_worth(&scrubbing, PQpass(conn)); /* also from PGPASSWORD or a passfile */
}

static const char *next_character(const char *p)
{
    do
        p++;
    while (((unsigned char)*p & 0xC0) == 0x80);
    return p;
}

/* " (line 3: fw.titel, fw.id)": where in the query the mistake is. position counts characters from
 * 1, as the server does. */
static void format_location(const char *sql, const char *position, char *out, size_t size)
{
    enum { EXCERPT = 40 }; /* characters: enough to find it */
    const char *p = sql;
    int line = 1;
    for (long at = strtol(position, NULL, 10); at > 1 && *p; at--) {
        line += *p == '\n';
        p = next_character(p);
    }
    const char *end = p;
    for (int n = 0; n < EXCERPT && *end && *end != '\n' && *end != '\r'; n++)
        end = next_character(end);
    if (end == p)
        snprintf(out, size, " (line %d)", line);
    else
        snprintf(out, size, " (line %d: %.*s)", line, (int)(end - p), p);
}

/* For a broken connection, libpq gives neither SQLSTATE nor primary message, only its own text. */
static bool report_lost(struct pg *pg, const char *primary, struct err *e)
{
    char reason[PG_REASON];
    pg_one_line(primary ? primary : PQerrorMessage(pg->conn), reason, sizeof reason);
    pg_scrub(pg->server, pg->conn, reason);
    pg->broken = true;
    return err_set(e, ERR_PASSING, "lost the connection to PostgreSQL %s: %s", pg->server->label,
                   reason[0] ? reason : "no reason given");
}

/* A FATAL error ends the session, even if libpq has not noticed yet. */
static bool ends_session(const PGresult *res)
{
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
    return severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* Only PostgreSQL's English words are recognized; without a match there is no hint. (In version 10
 * tables and views are relations.) */
static bool hint_privilege(const char *primary, const char *user, struct err *e)
{
    const char *space = strrchr(primary, ' '), *name = space ? space + 1 : "...";
    user = user && *user ? user : "the role that source.url names";
    if (strstr(primary, "for schema"))
        return err_hint(e, "GRANT USAGE ON SCHEMA %s TO %s", name, user);
    if (strstr(primary, "for table") || strstr(primary, "for view") ||
        strstr(primary, "for relation"))
        return err_hint(e, "GRANT SELECT ON %s TO %s", name, user);
    return false;
}

bool pg_error(struct pg *pg, const PGresult *res, const char *sql, struct err *e)
{
    char reason[PG_REASON], location[200] = "";
    const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY); /* NULL if res is */
    const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    if (PQstatus(pg->conn) == CONNECTION_BAD || ends_session(res)) {
        report_lost(pg, primary, e);
        if (sqlstate && find_fault(sqlstate, NULL, NULL) == ERR_FAULT_SIZE)
            e->fault = ERR_FAULT_SIZE;
        return false;
    }
    if (!sqlstate) { /* an error of libpq's own: out of memory, too many parameters */
        pg->broken = true;
        return err_set(e, res ? ERR_PASSING : ERR_FINAL, "%s",
                       pg_one_line(PQerrorMessage(pg->conn), reason, sizeof reason));
    }
    const char *position = PQresultErrorField(res, PG_DIAG_STATEMENT_POSITION);
    if (position && sql)
        format_location(sql, position, location, sizeof location);
    err_set(e, pg_error_kind(sqlstate), "%s%s",
            pg_one_line(primary ? primary : sqlstate, reason, sizeof reason), location);
    e->fault = find_fault(sqlstate, position, PQresultErrorField(res, PG_DIAG_INTERNAL_QUERY));
    if (strcmp(sqlstate, "57014") == 0)
        return err_hint(
            e, "if it is this role's statement_timeout: ALTER ROLE ... SET statement_timeout TO 0 "
               "lifts it, or -c statement_timeout=0 in the URL's options, unless a pooler refuses "
               "those");
    const char *hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);
    if (hint)
        return err_hint(e, "%s", pg_one_line(hint, reason, sizeof reason));
    return strcmp(sqlstate, "42501") == 0
               ? hint_privilege(primary ? primary : "", PQuser(pg->conn), e)
               : false;
}
