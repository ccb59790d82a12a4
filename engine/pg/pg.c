/* pg: queries, and rows that stream. */
#include "pg/pg_internal.h"

#include "base/log.h"
#include "base/stop.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

/* ---- connections ---- */

static void *run_cancel(void *arg)
{
    PGcancel *request = arg;
    char reason[256]; /* the size that libpq's documentation recommends */
    if (!PQcancel(request, reason, sizeof reason))
        log_debug("could not cancel a query: %s",
                  pg_one_line(reason, (char[PG_REASON]){0}, PG_REASON));
    PQfreeCancel(request);
    return NULL;
}

/* PQcancel connects and waits without a limit, and a frozen server accepts and never answers. So it
 * runs in a thread of its own, which is detached after two seconds: the connection is closed in
 * any case. */
static void cancel(struct pg *pg)
{
    enum { LIMIT_MS = 2000 };
    PGcancel *request = PQgetCancel(pg->conn);
    pthread_t thread;
    if (!request)
        return;
    if (pthread_create(&thread, NULL, run_cancel, request) != 0) {
        PQfreeCancel(request);
        return;
    }
    struct timespec until;
    int64_t ms = stop_left_ms(LIMIT_MS);
    ms = ms < LIMIT_MS ? ms : LIMIT_MS;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (pthread_timedjoin_np(thread, NULL, &until) != 0)
        pthread_detach(thread);
}

void pg_close(struct pg *pg)
{
    if (!pg)
        return;
    if (PQstatus(pg->conn) == CONNECTION_OK && PQtransactionStatus(pg->conn) == PQTRANS_ACTIVE)
        cancel(pg); /* otherwise the server notices only when it has rows to send */
    pg_session_forget(pg);
    PQclear(pg->row);
    PQfinish(pg->conn);
    free(pg->sql);
    free(pg);
}

const struct pg_server *pg_server_of(const struct pg *pg)
{
    return pg->server;
}

/* ---- waiting ---- */

enum {
    /* rows: the first ones of a stream, and as many before its expected end, are not gathered */
    GATHER_ROWS = 250,
    GATHER_BYTES = 64 << 10, /* to wait for, rather than for each 8 KB that the server sends */
    GATHER_MS = 5,           /* at most: the last rows may be fewer bytes */
};

/* The server sends 8 KB at a time. Waking up for each of them, while the server works on the next,
 * costs more time than reading them, and as much of the server's time: two thirds of a dry run's
 * system calls, 30 % of its processor time. So in the middle of a long stream the kernel wakes us
 * less often. (Where SO_RCVLOWAT has no effect, as on a local socket, nothing changes.) */
static void gather(struct pg *pg, bool on)
{
    int bytes = on ? GATHER_BYTES : 1;
    if (pg->gathers != on)
        setsockopt(PQsocket(pg->conn), SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
    pg->gathers = on;
}

static bool arrived(struct pg *pg)
{
    int bytes = 0;
    return ioctl(PQsocket(pg->conn), FIONREAD, &bytes) == 0 && bytes > 0;
}

bool pg_wait_ready(struct pg *pg, struct err *e)
{
    for (;;) {
        int unsent = PQflush(pg->conn);
        if (unsent < 0 || !PQisBusy(pg->conn))
            return true;
        if (pg->gathers &&
            /* what is left is less than the kernel waits for */
            (!PQconsumeInput(pg->conn) || !PQisBusy(pg->conn)))
            return true;
        short events = unsent > 0 ? POLLIN | POLLOUT : POLLIN;
        enum stop_wait waited =
            stop_wait_fd(PQsocket(pg->conn), events, pg->gathers ? GATHER_MS : -1);
        if (waited == STOP_ASKED) {
            pg->broken = true; /* pg_close cancels the query */
            return stop_err(e);
        }
        if (waited == STOP_TIMEOUT && !arrived(pg))
            gather(pg, false);
        if (!PQconsumeInput(pg->conn))
            return true;
    }
}

/* *res: the next result, owned by the caller; NULL at a query's end. False: a stop was
 * requested. */
static bool next_result(struct pg *pg, PGresult **res, struct err *e)
{
    *res = NULL;
    if (!pg_wait_ready(pg, e))
        return false;
    *res = PQgetResult(pg->conn);
    return true;
}

/* Reads the rest of a pipeline and leaves pipeline mode. If that fails, the connection is marked as
 * broken, and pg_release closes it. False: a stop was requested, or the transaction failed at its
 * end (a deferred constraint). */
static bool drain(struct pg *pg, struct err *e)
{
    PGresult *res;
    bool ok = true;
    int ends = 0; /* results that are NULL, in a row: each statement ends with one */
    while (!pg->broken && PQstatus(pg->conn) == CONNECTION_OK) {
        if (!next_result(pg, &res, e))
            return false;
        ExecStatusType status = res ? PQresultStatus(res) : PGRES_COMMAND_OK;
        ends = res ? 0 : ends + 1;
        if (status == PGRES_FATAL_ERROR)
            ok = pg_error(pg, res, NULL, e);
        PQclear(res);
        if (status == PGRES_PIPELINE_SYNC)
            break;
        if (ends > 2 || status == PGRES_COPY_IN || status == PGRES_COPY_OUT ||
            status == PGRES_COPY_BOTH)
            pg->broken = true;
    }
    if (PQpipelineStatus(pg->conn) != PQ_PIPELINE_OFF && !PQexitPipelineMode(pg->conn))
        pg->broken = true;
    pg->streaming = false;
    gather(pg, false);
    if (ok && PQstatus(pg->conn) != CONNECTION_OK)
        return pg_error(pg, NULL, NULL, e);
    return ok;
}

static bool damaged(struct pg *pg, struct err *e)
{
    pg->broken = true; /* which answers come next is unknown */
    return err_set(e, ERR_PASSING,
                   "could not use an answer of PostgreSQL %s: it does not fit the request",
                   pg->server->label);
}

/* Checks that res is what a query may return: rows, or a command's end. */
static bool check_result(struct pg *pg, const PGresult *res, const char *sql, struct err *e)
{
    switch (PQresultStatus(res)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_SINGLE_TUPLE:
        return true;
    case PGRES_EMPTY_QUERY:
        return err_set(e, ERR_FINAL, "the query is empty");
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        pg->broken = true; /* in the middle of the COPY protocol, which is not implemented here */
        return err_set(e, ERR_FINAL, "cannot run COPY: use SELECT");
    case PGRES_FATAL_ERROR:
        return pg_error(pg, res, sql, e);
    default:
        return damaged(pg, e);
    }
}

bool pg_check_free(struct pg *pg, struct err *e)
{
    if (pg->streaming)
        return err_set(
            e, ERR_FINAL,
            "cannot run a query while the rows of another are being read on the same connection");
    if (pg->broken)
        return err_set(e, ERR_PASSING, "could not use the connection to PostgreSQL %s again",
                       pg->server->label);
    return true;
}

/* ---- queries ---- */

/* Each round trip is one pipeline, and so one transaction: a pooler that assigns a session for each
 * transaction (PgBouncer's transaction and statement pooling) cannot split it. It begins with the
 * settings that the text form of values depends on, for this transaction alone: the settings of
 * user, database, server and of the session's other users do not matter, and ours do not affect
 * them. In READ COMMITTED each statement takes its own snapshot when it begins. The isolation level
 * can only be set before the first snapshot, so by a statement of its own: SET without LOCAL, since
 * SET LOCAL would warn that there is no transaction block. This setting does not outlive the
 * transaction. */
static const char isolation_sql[] = "SET transaction_isolation TO 'read committed'";

#define LOCAL(name, value) " pg_catalog.set_config('" name "', '" value "', true)"
/* A server whose encoding is SQL_ASCII would refuse every row with a text that is not UTF-8: it
 * sends texts as they are, and we check each one. */
#define ENCODING                                                                                   \
    " pg_catalog.set_config('client_encoding', CASE pg_catalog.current_setting('server_encoding')" \
    " WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END, true)"
/* clang-format off */
#define JIT                                                                                        \
    " CASE WHEN pg_catalog.current_setting('jit', true) IS NOT NULL THEN" LOCAL("jit", "off") " END"
#define SETTINGS                                                                                   \
    "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8,"        \
    ENCODING ","                                                                                   \
    LOCAL("TimeZone", "UTC") ","                                                                   \
    LOCAL("DateStyle", "ISO") ","                                                                  \
    LOCAL("IntervalStyle", "postgres") ","                                                         \
    LOCAL("bytea_output", "hex") ","                                                               \
    LOCAL("extra_float_digits", "3") ","                                                           \
    LOCAL("standard_conforming_strings", "on") ","                                                 \
    JIT
/* clang-format on */

/* A fetch is planned for part of the rows: with PostgreSQL's default random_page_cost (4, for
 * spinning disks) the server would rather read related tables completely, with several processes,
 * for each thousand keys. */
static const char settings_sql[] = SETTINGS,
                  fetch_settings_sql[] = SETTINGS
                  ", pg_catalog.set_config('random_page_cost',"
                  "  least(pg_catalog.current_setting('random_page_cost')::pg_catalog.float8,"
                  " 1.1)::pg_catalog.text, true)," LOCAL("max_parallel_workers_per_gather", "0");

bool pg_begin(struct pg *pg, bool fetch)
{
    const char *sql = fetch ? fetch_settings_sql : settings_sql;
    assert(!pg->streaming && !pg->row); /* one query at a time: pg_check_free */
    return PQenterPipelineMode(pg->conn) &&
           PQsendQueryParams(pg->conn, isolation_sql, 0, NULL, NULL, NULL, NULL, 0) &&
           PQsendQueryParams(pg->conn, sql, 0, NULL, NULL, NULL, NULL, 0);
}

static bool not_sent(struct pg *pg, const char *sql, struct err *e)
{
    pg->broken = true; /* half a pipeline may have been sent */
    return pg_error(pg, NULL, sql, e);
}

/* VACUUM, CREATE DATABASE, a procedure that commits: they refuse to run in a transaction with other
 * statements. */
static bool refuses_company(const PGresult *res)
{
    const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    return sqlstate && (strcmp(sqlstate, "25001") == 0 || strcmp(sqlstate, "2D000") == 0);
}

bool pg_result(struct pg *pg, const char *sql, PGresult **out, struct err *e)
{
    PGresult *end = NULL;
    if (!next_result(pg, out, e))
        return false;
    if (!*out && PQstatus(pg->conn) == CONNECTION_OK)
        return damaged(pg, e);
    if (!check_result(pg, *out, sql, e)) {
        pg->alone = refuses_company(*out);
        PQclear(*out);
        *out = NULL;
        return false;
    }
    bool ok = next_result(pg, &end, e);
    if (ok && end)
        ok = damaged(pg, e);
    PQclear(end);
    return ok;
}

/* Receives the answers to what pg_begin sent. */
static bool begun(struct pg *pg, int64_t *clock_us, struct err *e)
{
    PGresult *res = NULL;
    bool ok = pg_result(pg, isolation_sql, &res, e);
    PQclear(res);
    res = NULL;
    ok = ok && pg_result(pg, settings_sql, &res, e);
    int64_t clock = ok && PQntuples(res) == 1 ? pg_int(res, 0, 0) : 0;
    PQclear(res);
    if (ok && clock <= 0)
        ok = damaged(pg, e);
    if (clock_us)
        *clock_us = clock;
    return ok;
}

bool pg_finish(struct pg *pg, int sent, const struct pg_answers *a, struct err *e)
{
    struct err ignored;
    for (int i = 0; i < a->n; i++)
        a->out[i] = NULL;
    if (!sent)
        return not_sent(pg, a->sql[0], e);
    bool ok = begun(pg, NULL, e);
    for (int i = 0; ok && i < a->n; i++)
        ok = pg_result(pg, a->sql[i], &a->out[i], e);
    ok &= drain(pg, ok ? e : &ignored);
    for (int i = 0; !ok && i < a->n; i++) {
        PQclear(a->out[i]);
        a->out[i] = NULL;
    }
    return ok;
}

static int send_statement(struct pg *pg, const struct pg_statement *s)
{
    return PQsendQueryParams(pg->conn, s->sql, s->n, s->types, s->params, NULL, NULL, 0);
}

/* Without settings: a statement that must run alone returns no rows. */
static bool query_alone(struct pg *pg, const struct pg_statement *s, PGresult **out, struct err *e)
{
    if (!PQsendQueryParams(pg->conn, s->sql, s->n, NULL, s->params, NULL, NULL, 0))
        return not_sent(pg, s->sql, e);
    if (pg_result(pg, s->sql, out, e))
        return true;
    PGresult *end = NULL;
    struct err ignored;
    if (!next_result(pg, &end, &ignored) || end)
        pg->broken = true;
    PQclear(end);
    return false;
}

bool pg_query_statement(struct pg *pg, const struct pg_statement *s, PGresult **out, struct err *e)
{
    *out = NULL;
    if (!pg_check_free(pg, e))
        return false;
    int sent = pg_begin(pg, false) && send_statement(pg, s) && PQpipelineSync(pg->conn);
    pg->alone = false;
    return pg_finish(pg, sent, &(struct pg_answers){&s->sql, out, 1}, e) ||
           (pg->alone && !pg->broken && query_alone(pg, s, out, e));
}

bool pg_query(struct pg *pg, const char *sql, int n, const char *const *params, PGresult **out,
              struct err *e)
{
    return pg_query_statement(pg, &(struct pg_statement){sql, n, params, NULL}, out, e);
}

bool pg_expect(struct pg *pg, PGresult **res, int rows, size_t columns, struct err *e)
{
    int n = PQntuples(*res), fields = PQnfields(*res);
    if (PQresultStatus(*res) == PGRES_TUPLES_OK && (size_t)fields == columns &&
        (rows < 0 || n == rows))
        return true;
    PQclear(*res);
    *res = NULL;
    pg->broken = true; /* whose answers come next is not known */
    return err_set(
        e, ERR_PASSING,
        "could not use an answer of PostgreSQL %s: it has %d rows of %d columns, which does not "
        "fit the request",
        pg->server->label, n, fields);
}

int64_t pg_int(const PGresult *res, int row, int column)
{
    const int64_t most = INT64_MAX / 2; /* in microseconds: the year 148,000 */
    const char *text = PQgetvalue(res, row, column);
    int64_t n = text ? strtoll(text, NULL, 10) : 0;
    return n > most ? most : n < -most ? -most : n;
}

bool pg_bool(const PGresult *res, int row, int column)
{
    const char *text = PQgetvalue(res, row, column);
    return text && text[0] == 't';
}

bool pg_query_pair(struct pg *pg, const struct pg_statement s[2], PGresult *out[2], struct err *e)
{
    const char *const sql[] = {s[0].sql, s[1].sql};
    out[0] = out[1] = NULL;
    if (!pg_check_free(pg, e))
        return false;
    int sent = pg_begin(pg, false) && send_statement(pg, &s[0]) && send_statement(pg, &s[1]) &&
               PQpipelineSync(pg->conn);
    return pg_finish(pg, sent, &(struct pg_answers){sql, out, 2}, e);
}

/* The clock is sent with the settings, at once; the query comes after them, so its snapshot is
 * later. */
bool pg_stream(struct pg *pg, const struct pg_statement *s, int64_t *clock_us, struct err *e)
{
    struct err ignored;
    if (!pg_check_free(pg, e))
        return false;
    free(pg->sql);
    pg->sql = strdup(s->sql);
    if (!pg_begin(pg, clock_us != NULL) ||
        !PQsendFlushRequest(pg->conn) || /* otherwise the answer waits for the query's first rows */
        !send_statement(pg, s) || !PQpipelineSync(pg->conn))
        return not_sent(pg, s->sql, e);
    pg->streaming = true;
    pg->rows = 0;
    pg->ahead = 0;
    pg->ahead_over = false;
    if (!begun(pg, clock_us, e)) {
        drain(pg, &ignored);
        return false;
    }
    return PQsetSingleRowMode(pg->conn) || not_sent(pg, s->sql, e);
}

bool pg_next(struct pg *pg, const PGresult **row, struct err *e)
{
    *row = NULL;
    PQclear(pg->row);
    pg->row = NULL;
    if (!pg->streaming)
        return true;
    PGresult *res;
    if (!next_result(pg, &res, e))
        return false;
    bool ok = check_result(pg, res, pg->sql, e);
    if (ok && PQresultStatus(res) == PGRES_SINGLE_TUPLE) {
        *row = pg->row = res;
        pg_ahead_passed(pg, res);
        if (++pg->rows % GATHER_ROWS == 0)
            gather(pg, pg->rows < pg->expected - GATHER_ROWS);
        return true;
    }
    PQclear(res);
    pg->expected = pg->rows > GATHER_ROWS ? pg->rows : GATHER_ROWS;
    struct err ignored;
    return drain(pg, ok ? e : &ignored) && ok;
}

/* ---- SQL texts ---- */

void pg_add_array(struct buf *b, const char *const *texts, size_t n)
{
    buf_addc(b, '{');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_addc(b, ',');
        if (!texts[i]) {
            buf_adds(b, "NULL"); /* without quotes: in quotes it would be a text */
            continue;
        }
        buf_addc(b, '"');
        for (const char *p = texts[i]; *p;) {
            size_t plain = strcspn(p, "\"\\");
            buf_add(b, p, plain);
            p += plain;
            if (*p) {
                buf_addc(b, '\\');
                buf_addc(b, *p++);
            }
        }
        buf_addc(b, '"');
    }
    buf_addc(b, '}');
}

void pg_add_identifier(struct buf *b, const char *text)
{
    buf_addc(b, '"');
    for (; *text; text++) {
        if (*text == '"')
            buf_addc(b, '"');
        buf_addc(b, *text);
    }
    buf_addc(b, '"');
}

int pg_server_version(const struct pg *pg)
{
    return PQserverVersion(pg->conn);
}

uint64_t pg_serial(const struct pg *pg)
{
    return pg->serial;
}
