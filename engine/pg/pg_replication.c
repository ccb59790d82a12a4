#include "pg/pg_replication.h"

#include "base/clock.h"
#include "pg/pg_internal.h"
#include "pg/pgoutput.h"

#include "base/stop.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    SQL_MAX = 4096,
    END_US = 500 * 1000, /* for the server to end the stream */
    SERVER_TEXT = 64,
    DATA_HEADER = 25,      /* 'w', the data's position, the log's end, the time */
    KEEPALIVE_LENGTH = 18, /* 'k', the log's end, the time, whether to reply */
    STATUS_LENGTH = 34,    /* 'r', written, flushed, applied, the time, whether to reply */
};

struct pg_replication {
    struct pg *pg; /* owned */
    int wake;      /* readable once pg_replication_interrupt was called */
    char server[SERVER_TEXT];
    uint32_t timeline;
    uint64_t position; /* of its log, when the connection began */
    char *copy;        /* libpq's: what the last message lies in */
    uint64_t confirmed;
};

/* ---- positions ---- */

char *pg_lsn_text(uint64_t lsn, char out[PG_LSN_TEXT])
{
    snprintf(out, PG_LSN_TEXT, "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
    return out;
}

/* Up to 8 hexadecimal digits. */
static bool read_half(const char *text, const char *end, uint64_t *half)
{
    size_t n = strspn(text, "0123456789ABCDEFabcdef");
    *half = strtoull(text, NULL, 16);
    return n > 0 && n <= 8 && text + n == end;
}

bool pg_lsn_read(const char *text, uint64_t *lsn)
{
    const char *slash = strchr(text, '/');
    uint64_t high, low;
    if (!slash || !read_half(text, slash, &high) ||
        !read_half(slash + 1, slash + 1 + strlen(slash + 1), &low))
        return false;
    *lsn = high << 32 | low;
    return true;
}

static uint64_t get_number(const char *at)
{
    uint64_t n = 0;
    for (int i = 0; i < 8; i++)
        n = n << 8 | (unsigned char)at[i];
    return n;
}

static void put_number(char *at, uint64_t n)
{
    for (int i = 7; i >= 0; i--, n >>= 8)
        at[i] = (char)(n & 0xFF);
}

/* ---- starting ---- */

/* A publication's name within a string of options: 'a"b' is ''a""b''. */
static void add_publication(struct buf *b, const char *name)
{
    buf_adds(b, "'\"");
    for (; *name; name++) {
        buf_addc(b, *name);
        if (*name == '\'' || *name == '"')
            buf_addc(b, *name);
    }
    buf_adds(b, "\"'");
}

static const char *make_command(struct buf *b, const struct pg_replication_options *o)
{
    char from[PG_LSN_TEXT];
    buf_adds(b, "START_REPLICATION SLOT ");
    pg_add_identifier(b, o->slot);
    buf_addf(b, " LOGICAL %s (proto_version '1', publication_names ", pg_lsn_text(o->from, from));
    add_publication(b, o->publication);
    buf_addc(b, ')');
    return buf_cstr(b);
}

/* Another process of ours, or a connection that died, which the server has not noticed yet. */
static bool start_error(struct pg_replication *r, const PGresult *res, struct err *e)
{
    const char *sqlstate = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
    bool in_use = sqlstate && strcmp(sqlstate, "55006") == 0;
    pg_error(r->pg, res, NULL, e);
    if (!in_use)
        return false;
    e->kind = ERR_PASSING;
    return err_hint(e, "another etl-engine with this slot has to end first; a connection that died "
                       "frees it after the server's wal_sender_timeout");
}

/* As pg.c's for all other sessions, so that a key has one text. This protocol has no statements
 * with parameters, and several of these would be one message. */
static const char settings_sql[] =
    "SET TimeZone TO 'UTC'; SET DateStyle TO 'ISO'; SET IntervalStyle TO 'postgres'; "
    "SET bytea_output TO 'hex'; SET extra_float_digits TO 3";

static bool set_up(struct pg_replication *r, struct err *e)
{
    if (!PQsendQuery(r->pg->conn, settings_sql))
        return start_error(r, NULL, e);
    bool ok = true;
    for (PGresult *res; ok && pg_wait_ready(r->pg, e) && (res = PQgetResult(r->pg->conn));
         PQclear(res))
        ok = PQresultStatus(res) == PGRES_COMMAND_OK || start_error(r, res, e);
    return ok && !stop_asked();
}

static bool damaged(struct err *e)
{
    return err_set(e, ERR_PASSING,
                   "could not read the log: the server sent a message that "
                   "replication does not have");
}

enum identity_column { IDENTITY_SYSTEM, IDENTITY_TIMELINE, IDENTITY_POSITION };

static bool identify(struct pg_replication *r, struct err *e)
{
    if (!PQsendQuery(r->pg->conn, "IDENTIFY_SYSTEM"))
        return start_error(r, NULL, e);
    bool ok = true;
    for (PGresult *res; ok && pg_wait_ready(r->pg, e) && (res = PQgetResult(r->pg->conn));
         PQclear(res)) {
        ok = (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1 &&
              PQnfields(res) > IDENTITY_POSITION) ||
             start_error(r, res, e);
        if (!ok)
            continue;
        r->timeline = (uint32_t)pg_int(res, 0, IDENTITY_TIMELINE);
        snprintf(r->server, sizeof r->server, "%s-%08" PRIX32, PQgetvalue(res, 0, IDENTITY_SYSTEM),
                 r->timeline);
        ok = pg_lsn_read(PQgetvalue(res, 0, IDENTITY_POSITION), &r->position) || damaged(e);
    }
    return ok && !stop_asked();
}

uint64_t pg_replication_position(const struct pg_replication *r)
{
    return r->position;
}

const char *pg_replication_server(const struct pg_replication *r)
{
    return r->server;
}

static bool begin_copy(struct pg_replication *r, const char *command, struct err *e)
{
    if (!PQsendQuery(r->pg->conn, command))
        return start_error(r, NULL, e);
    if (!pg_wait_ready(r->pg, e))
        return false;
    PGresult *res = PQgetResult(r->pg->conn);
    bool ok = PQresultStatus(res) == PGRES_COPY_BOTH || start_error(r, res, e);
    PQclear(res);
    return ok;
}

/* NULL: e says why. */
static struct pg_replication *connect_to(struct pg_server *server, struct err *e)
{
    struct pg_replication *r = calloc(1, sizeof *r);
    bool ok = r || err_memory(e);
    if (ok && (r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        ok = err_set(e, ERR_FINAL, "cannot create an eventfd: %s", strerror(errno));
    if (ok && (r->pg = pg_open_replication(server, e)))
        return r;
    pg_replication_end(r);
    return NULL;
}

struct pg_replication *pg_replication_start(struct pg_server *server,
                                            const struct pg_replication_options *options,
                                            struct err *e)
{
    struct pg_replication *r = connect_to(server, e);
    struct buf b;
    if (!r)
        return NULL;
    buf_init(&b, SQL_MAX);
    const char *command = make_command(&b, options);
    bool ok = command ? set_up(r, e) && identify(r, e) && begin_copy(r, command, e) : err_memory(e);
    buf_free(&b);
    if (ok)
        return r;
    err_wrap(e, "could not read the log of slot '%s'", options->slot);
    pg_replication_end(r);
    return NULL;
}

/* ---- the timeline ---- */

bool pg_replication_is_of(const char *name, const char *server)
{
    size_t len = strlen(name);
    return strncmp(name, server, len) == 0 && (server[len] == '-' || server[len] == '\0');
}

/* A server that was copied without the file has no history. */
static bool read_history(struct pg_replication *r, char **history, struct err *e)
{
    char command[40];
    snprintf(command, sizeof command, "TIMELINE_HISTORY %" PRIu32, r->timeline);
    if (!PQsendQuery(r->pg->conn, command))
        return start_error(r, NULL, e);
    for (PGresult *res; pg_wait_ready(r->pg, e) && (res = PQgetResult(r->pg->conn)); PQclear(res))
        if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1 && PQnfields(res) == 2 &&
            !*history)
            *history = strdup(PQgetvalue(res, 0, 1));
    if (PQstatus(r->pg->conn) == CONNECTION_BAD)
        return pg_error(r->pg, NULL, NULL, e);
    return !stop_asked() || stop_err(e);
}

char *pg_replication_history(struct pg_server *s, const char *server, struct err *e)
{
    struct pg_replication *r = connect_to(s, e);
    char *history = NULL;
    bool ok = r && identify(r, e);
    if (ok && !pg_replication_is_of(r->server, server))
        ok = err_set(e, ERR_PASSING, "PostgreSQL %s answers by one server, and then by another one",
                     s->label);
    ok = ok && (r->timeline <= 1 || read_history(r, &history, e));
    if (ok && !history && !(history = strdup("")))
        ok = err_memory(e);
    pg_replication_end(r);
    if (ok)
        return history;
    free(history);
    return NULL;
}

/* A socket that is closed while it has unread input is reset, and the server may lose what it had
 * not read: the last confirmation. So the stream is read to its end, as far as that comes soon. */
static void end_copy(PGconn *conn)
{
    int64_t deadline_us = clock_mono_us() + END_US;
    char *data = NULL;
    bool ok = PQtransactionStatus(conn) == PQTRANS_ACTIVE && PQputCopyEnd(conn, NULL) > 0;
    for (int len = 0; ok && len >= 0; PQfreemem(data)) {
        data = NULL;
        len = PQgetCopyData(conn, &data, 1);
        int64_t left_us = deadline_us - clock_mono_us();
        ok = left_us > 0;
        if (!ok || len != 0)
            continue;
        struct pollfd fd = {PQsocket(conn), PQflush(conn) > 0 ? POLLIN | POLLOUT : POLLIN, 0};
        ok = poll(&fd, 1, (int)(left_us / 1000) + 1) > 0 && PQconsumeInput(conn);
    }
}

void pg_replication_end(struct pg_replication *r)
{
    if (!r)
        return;
    PQfreemem(r->copy);
    if (r->pg)
        end_copy(r->pg->conn);
    pg_close(r->pg);
    if (r->wake > 0)
        close(r->wake);
    free(r);
}

/* ---- messages ---- */

static bool read_message(struct pg_replication *r, size_t len, struct pg_replication_message *m,
                         struct err *e)
{
    const char *at = r->copy;
    if (at[0] == 'k' && len == KEEPALIVE_LENGTH) {
        m->kind = PG_REPLICATION_KEEPALIVE;
        m->end = get_number(at + 1);
        m->reply = at[17] != 0;
        return true;
    }
    if (at[0] != 'w' || len < DATA_HEADER)
        return damaged(e);
    m->kind = PG_REPLICATION_DATA;
    m->end = get_number(at + 9);
    m->data = at + DATA_HEADER;
    m->len = len - DATA_HEADER;
    return true;
}

/* The stream has ended: the server's reason, if it gave one. */
static bool ended(struct pg_replication *r, struct err *e)
{
    if (!pg_wait_ready(r->pg, e))
        return false;
    PGresult *res = PQgetResult(r->pg->conn);
    if (PQresultStatus(res) == PGRES_FATAL_ERROR || PQstatus(r->pg->conn) == CONNECTION_BAD)
        pg_error(r->pg, res, NULL, e);
    else
        err_set(e, ERR_PASSING, "PostgreSQL %s has ended the stream of the log",
                r->pg->server->label);
    PQclear(res);
    return false;
}

/* Waits for more input. *late: there is none in time, or nobody wants it any more. */
static bool wait_input(struct pg_replication *r, int64_t deadline_us, bool *late, struct err *e)
{
    PGconn *conn = r->pg->conn;
    short events = PQflush(conn) > 0 ? POLLIN | POLLOUT : POLLIN;
    struct pollfd fds[] = {
        {PQsocket(conn), events, 0}, {r->wake, POLLIN, 0}, {stop_fd(), POLLIN, 0}};
    int64_t left_us = deadline_us - clock_mono_us();
    int n = left_us > 0 ? poll(fds, 3, (int)((left_us + 999) / 1000)) : 0;
    if (stop_asked())
        return stop_err(e);
    *late = left_us <= 0 || n == 0 || fds[1].revents;
    return *late || n < 0 || PQconsumeInput(conn) || pg_error(r->pg, NULL, NULL, e);
}

bool pg_replication_next(struct pg_replication *r, int64_t wait_ms,
                         struct pg_replication_message *message, struct err *e)
{
    int64_t deadline_us = clock_mono_us() + wait_ms * 1000;
    *message = (struct pg_replication_message){.kind = PG_REPLICATION_NOTHING};
    for (bool late = false; !late;) {
        PQfreemem(r->copy);
        r->copy = NULL;
        int len = PQgetCopyData(r->pg->conn, &r->copy, 1);
        if (len > 0)
            return read_message(r, (size_t)len, message, e);
        if (len < 0)
            return ended(r, e);
        if (!wait_input(r, deadline_us, &late, e))
            return false;
    }
    return true;
}

static bool send_status(struct pg_replication *r, uint64_t written, uint64_t flushed, bool ask,
                        struct err *e)
{
    char status[STATUS_LENGTH] = {'r'};
    put_number(status + 1, written);
    put_number(status + 9, flushed);
    put_number(status + 17, flushed); /* applied */
    put_number(status + 25, (uint64_t)(clock_wall_us() - PGOUTPUT_EPOCH_US));
    status[33] = ask;
    if (PQputCopyData(r->pg->conn, status, STATUS_LENGTH) <= 0 || PQflush(r->pg->conn) < 0)
        return pg_error(r->pg, NULL, NULL, e);
    return true;
}

bool pg_replication_confirm(struct pg_replication *r, uint64_t lsn, bool ask, struct err *e)
{
    r->confirmed = lsn > r->confirmed ? lsn : r->confirmed;
    return send_status(r, r->confirmed, r->confirmed, ask, e);
}

bool pg_replication_keep(struct pg_replication *r, uint64_t lsn, bool ask, struct err *e)
{
    return send_status(r, lsn, 0, ask, e);
}

void pg_replication_interrupt(struct pg_replication *r)
{
    eventfd_write(r->wake, 1);
}
