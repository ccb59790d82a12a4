/* pg: the pool, queries, and rows that stream. */
#include "pg_internal.h"

#include "log.h"
#include "stop.h"

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
    char reason[256]; /* the size that libpq recommends */
    if (!PQcancel(request, reason, sizeof reason))
        log_debug("could not cancel a query: %s", pg_one_line(reason, (char[PG_REASON]){0}, PG_REASON));
    PQfreeCancel(request);
    return NULL;
}

/* PQcancel connects and waits without a limit: a server that is frozen accepts and never answers. So it has a
 * thread of its own, which is left to itself after a second: the connection is closed in any case. */
static void cancel(struct pg *pg)
{
    enum { LIMIT_S = 1 };
    PGcancel *request = PQgetCancel(pg->conn);
    pthread_t thread;
    if (!request)
        return;
    if (pthread_create(&thread, NULL, run_cancel, request) != 0) {
        PQfreeCancel(request);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LIMIT_S;
    if (pthread_timedjoin_np(thread, NULL, &until) != 0)
        pthread_detach(thread);
}

void pg_note_session(struct pg *pg, int64_t began_us)
{
    pg->pid = PQbackendPID(pg->conn);
    for (size_t i = 0; i < PG_PIDS; i++) {
        int none = 0;
        if (atomic_compare_exchange_strong(&pg->server->pids[i], &none, pg->pid)) {
            pg->server->began[i] = began_us;
            return;
        }
    }
}

static void forget_pid(struct pg *pg)
{
    for (size_t i = 0; pg->pid && i < PG_PIDS; i++) {
        int pid = pg->pid;
        if (atomic_compare_exchange_strong(&pg->server->pids[i], &pid, 0))
            return;
    }
}

void pg_close(struct pg *pg)
{
    if (!pg)
        return;
    if (PQstatus(pg->conn) == CONNECTION_OK && PQtransactionStatus(pg->conn) == PQTRANS_ACTIVE)
        cancel(pg); /* or the server would notice only when it has rows to send */
    forget_pid(pg);
    PQclear(pg->row);
    PQfinish(pg->conn);
    free(pg->sql);
    free(pg);
}

void pg_pool_init(struct pg_pool *p, struct pg_server *server)
{
    *p = (struct pg_pool){.server = server};
}

void pg_pool_free(struct pg_pool *p)
{
    while (p->idle) {
        struct pg *pg = p->idle;
        p->idle = pg->next;
        pg_close(pg);
    }
}

/* Nobody has asked an idle connection for anything: if there is something to read, it is the server's
 * farewell. */
static bool is_quiet(const struct pg *pg)
{
    struct pollfd fd = {.fd = PQsocket(pg->conn), .events = POLLIN};
    return poll(&fd, 1, 0) == 0;
}

struct pg *pg_take(struct pg_pool *p, struct err *e)
{
    while (p->idle) {
        struct pg *pg = p->idle;
        p->idle = pg->next;
        pg->next = NULL;
        if (is_quiet(pg))
            return pg;
        pg_close(pg);
    }
    return pg_open(p->server, e);
}

const struct pg_server *pg_server_of(const struct pg *pg)
{
    return pg->server;
}

void pg_discard(struct pg *pg)
{
    if (pg)
        pg_close(pg);
}

void pg_give(struct pg_pool *p, struct pg *pg)
{
    if (!pg)
        return;
    if (pg->broken || pg->streaming || PQstatus(pg->conn) != CONNECTION_OK ||
        PQtransactionStatus(pg->conn) != PQTRANS_IDLE) {
        pg_close(pg);
        return;
    }
    PQclear(pg->row);
    pg->row = NULL;
    pg->next = p->idle;
    p->idle = pg;
}

/* ---- waiting ---- */

enum {
    GATHER_ROWS =
        250, /* of a stream: after the first so many, and before the last, by the size of the stream before */
    GATHER_BYTES = 64 << 10, /* to wait for, rather than for the next 8 KB that the server sends */
    GATHER_MS = 5,           /* at most: the last rows are fewer */
};

/* The server sends 8 KB at a time. To be woken for each of these, while it works on the next, takes more time
 * than to read them, and as much of the server's: two thirds of a dry run's system calls, 30 % of its
 * processor time. So in the midst of a long stream the kernel wakes us less often. (Where it knows no such
 * mark, as on a local socket, nothing changes.) */
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

/* Waits until PQgetResult would not block. False: a stop was asked. A connection that broke is ready, too:
 * PQgetResult then tells what the server said last. */
static bool wait_ready(struct pg *pg, struct err *e)
{
    for (;;) {
        int unsent = PQflush(pg->conn);
        if (unsent < 0 || !PQisBusy(pg->conn))
            return true;
        if (pg->gathers &&
            (!PQconsumeInput(pg->conn) || !PQisBusy(pg->conn))) /* what is left below the mark */
            return true;
        short events = unsent > 0 ? POLLIN | POLLOUT : POLLIN;
        enum stop_wait waited = stop_wait_fd(PQsocket(pg->conn), events, pg->gathers ? GATHER_MS : -1);
        if (waited == STOP_ASKED) {
            pg->broken = true; /* the query is cancelled when the connection is closed */
            return stop_err(e);
        }
        if (waited == STOP_TIMEOUT && !arrived(pg))
            gather(pg, false);
        if (!PQconsumeInput(pg->conn))
            return true;
    }
}

/* *res: the next result, owned by the caller; NULL at a query's end. False: a stop was asked. */
static bool next_result(struct pg *pg, PGresult **res, struct err *e)
{
    *res = NULL;
    if (!wait_ready(pg, e))
        return false;
    *res = PQgetResult(pg->conn);
    return true;
}

/* Reads what is left of a query, so that the connection can be used again; of a pipeline, up to its end and
 * out of it. Where that cannot be, the connection is broken, and pg_give closes it. */
static void drain(struct pg *pg)
{
    struct err ignored;
    PGresult *res;
    bool pipeline = PQpipelineStatus(pg->conn) != PQ_PIPELINE_OFF;
    int ends = 0; /* in a pipeline, each query has one */
    while (!pg->broken && PQstatus(pg->conn) == CONNECTION_OK && next_result(pg, &res, &ignored)) {
        ExecStatusType status = PQresultStatus(res);
        ends = res ? 0 : ends + 1;
        PQclear(res);
        if (pipeline ? status == PGRES_PIPELINE_SYNC : ends == 1)
            break;
        if (ends > 2 || status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH)
            pg->broken = true;
    }
    if (pipeline && !PQexitPipelineMode(pg->conn))
        pg->broken = true;
    pg->streaming = false;
    gather(pg, false);
}

/* Whether res is what a query may give: rows, or a command's end. Else e says what it is. */
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
        pg->broken = true; /* amid the protocol of COPY, which we don't speak */
        return err_set(e, ERR_FINAL, "cannot run COPY here: use a SELECT");
    default:
        return pg_error(pg, res, sql, e);
    }
}

bool pg_check_free(struct pg *pg, struct err *e)
{
    if (pg->streaming)
        return err_set(e, ERR_FINAL,
                       "cannot run a query while another one's rows are read on the same connection");
    if (pg->broken)
        return err_set(e, ERR_PASSING, "could not use the connection to PostgreSQL %s again",
                       pg->server->label);
    return true;
}

/* ---- queries ---- */

bool pg_result(struct pg *pg, int sent, const char *sql, PGresult **out, struct err *e)
{
    *out = NULL;
    if (!sent)
        return pg_error(pg, NULL, sql, e);
    PGresult *res;
    if (!next_result(pg, &res, e))
        return false;
    bool ok = check_result(pg, res, sql, e);
    drain(pg);
    if (ok)
        *out = res;
    else
        PQclear(res);
    return ok;
}

bool pg_query_typed(struct pg *pg, const char *sql, int n, const Oid *types, const char *const *params,
                    PGresult **out, struct err *e)
{
    *out = NULL;
    return pg_check_free(pg, e) &&
           pg_result(pg, PQsendQueryParams(pg->conn, sql, n, types, params, NULL, NULL, 0), sql, out, e);
}

bool pg_query(struct pg *pg, const char *sql, int n, const char *const *params, PGresult **out, struct err *e)
{
    return pg_query_typed(pg, sql, n, NULL, params, out, e);
}

bool pg_expect(struct pg *pg, PGresult **res, int rows, size_t columns, struct err *e)
{
    int n = PQntuples(*res), fields = PQnfields(*res);
    if (PQresultStatus(*res) == PGRES_TUPLES_OK && (size_t)fields == columns && (rows < 0 || n == rows))
        return true;
    PQclear(*res);
    *res = NULL;
    pg->broken = true; /* whose answers come next is not known */
    return err_set(
        e, ERR_PASSING,
        "could not use an answer of PostgreSQL %s: it has %d rows of %d columns, which is not what "
        "was asked for",
        pg->server->label, n, fields);
}

int64_t pg_number(const PGresult *res, int row, int column)
{
    const int64_t most = INT64_MAX / 2; /* as microseconds: the year 148,000 */
    const char *text = PQgetvalue(res, row, column);
    int64_t n = text ? strtoll(text, NULL, 10) : 0;
    return n > most ? most : n < -most ? -most : n;
}

/* Up to the statement's end. One row can be two results: see read_clock. */
static bool pair_result(struct pg *pg, const char *sql, PGresult **out, struct err *e)
{
    PGresult *res;
    bool ok = true;
    while (ok && (ok = next_result(pg, &res, e)) && res) {
        ok = check_result(pg, res, sql, e);
        if (ok && (!*out || PQntuples(*out) == 0)) {
            PQclear(*out);
            *out = res;
        } else {
            PQclear(res);
        }
    }
    if (ok && !*out)
        return pg_error(pg, NULL, sql, e);
    return ok;
}

/* One implicit transaction, but in READ COMMITTED, which pg_open has set, each statement takes a snapshot of
 * its own when it begins. */
bool pg_query_pair(struct pg *pg, const struct pg_statement s[2], PGresult *out[2], struct err *e)
{
    out[0] = out[1] = NULL;
    if (!pg_check_free(pg, e))
        return false;
    bool sent = PQenterPipelineMode(pg->conn) &&
                PQsendQueryParams(pg->conn, s[0].sql, s[0].n, NULL, s[0].params, NULL, NULL, 0) &&
                PQsendQueryParams(pg->conn, s[1].sql, s[1].n, NULL, s[1].params, NULL, NULL, 0) &&
                PQpipelineSync(pg->conn);
    if (!sent) {
        pg->broken = true; /* half a pipeline may be on its way */
        return pg_error(pg, NULL, s[0].sql, e);
    }
    bool ok = pair_result(pg, s[0].sql, &out[0], e) && pair_result(pg, s[1].sql, &out[1], e);
    drain(pg);
    if (ok)
        return true;
    PQclear(out[0]);
    PQclear(out[1]);
    out[0] = out[1] = NULL;
    return false;
}

/* The clock first, and sent at once; then the query. They are one implicit transaction, but in READ
 * COMMITTED, which pg_open has set, each statement takes a snapshot of its own when it begins: the query's is
 * the later one.
 *
 * The query is planned for a part of the rows: with PostgreSQL's own price of a random page (4, a spinning
 * disk's) it would rather read related tables as a whole, by several processes, for each thousand keys. */
static bool send_with_clock(struct pg *pg, const char *sql, int n, const char *const *params)
{
    static const char clock_sql[] =
        "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8,"
        " pg_catalog.set_config('random_page_cost',"
        "  least(pg_catalog.current_setting('random_page_cost')::pg_catalog.float8, 1.1)::pg_catalog.text, "
        "true),"
        " pg_catalog.set_config('max_parallel_workers_per_gather', '0', true)";
    return PQenterPipelineMode(pg->conn) &&
           PQsendQueryParams(pg->conn, clock_sql, 0, NULL, NULL, NULL, NULL, 0) &&
           PQsendFlushRequest(pg->conn) && /* or it would wait for the query's first rows */
           PQsendQueryParams(pg->conn, sql, n, NULL, params, NULL, NULL, 0) && PQpipelineSync(pg->conn);
}

/* Up to the clock's end. It is one row, but two results if the last query was a stream outside of a pipeline:
 * libpq (15) leaves its single-row mode on. */
static bool read_clock(struct pg *pg, int64_t *clock_us, struct err *e)
{
    PGresult *res;
    bool ok = true;
    *clock_us = 0;
    while (ok && (ok = next_result(pg, &res, e)) && res) {
        ok = check_result(pg, res, NULL, e);
        if (ok && PQntuples(res) > 0)
            *clock_us = pg_number(res, 0, 0);
        PQclear(res);
    }
    if (ok && *clock_us <= 0) {
        pg->broken = true;
        ok = err_set(e, ERR_PASSING, "could not read the clock of PostgreSQL %s", pg->server->label);
    }
    return ok;
}

bool pg_stream(struct pg *pg, const char *sql, int n, const char *const *params, int64_t *clock_us,
               struct err *e)
{
    if (!pg_check_free(pg, e))
        return false;
    free(pg->sql);
    pg->sql = strdup(sql);
    bool sent = clock_us ? send_with_clock(pg, sql, n, params)
                         : PQsendQueryParams(pg->conn, sql, n, NULL, params, NULL, NULL, 0);
    if (!sent) {
        pg->broken = true; /* half a pipeline may be on its way */
        return pg_error(pg, NULL, sql, e);
    }
    pg->streaming = true;
    pg->rows = 0;
    if (clock_us && !read_clock(pg, clock_us, e)) {
        drain(pg);
        return false;
    }
    if (!PQsetSingleRowMode(pg->conn)) {
        pg->broken = true;
        return pg_error(pg, NULL, sql, e);
    }
    return true;
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
        if (++pg->rows % GATHER_ROWS == 0)
            gather(pg, pg->rows < pg->expected - GATHER_ROWS);
        return true;
    }
    PQclear(res);
    pg->expected = pg->rows > GATHER_ROWS ? pg->rows : GATHER_ROWS;
    drain(pg);
    return ok;
}

/* ---- SQL texts ---- */

void pg_add_array(struct buf *b, const char *const *texts, size_t n)
{
    buf_addc(b, '{');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_addc(b, ',');
        if (!texts[i]) {
            buf_adds(b, "NULL"); /* without quotes: the word in quotes is a text */
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

/* A slot that is being filled gives a pair that is nobody's: then a session of ours counts as another one,
 * once. */
void pg_add_own_sessions(const struct pg_server *s, struct buf *pids, struct buf *began)
{
    size_t n = 0;
    buf_addc(pids, '{');
    buf_addc(began, '{');
    for (size_t i = 0; i < PG_PIDS; i++) {
        int pid = s->pids[i];
        if (pid == 0)
            continue;
        buf_addf(pids, "%s%d", n ? "," : "", pid);
        buf_addf(began, "%s%lld", n++ ? "," : "", (long long)s->began[i]);
    }
    buf_addc(pids, '}');
    buf_addc(began, '}');
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
