/* admin: for tests against the server that DATABASE_URL names: a session that does what the tested
 * code must not know of.
 */
#pragma once

#include "base/err.h"
#include "base/log.h"
#include "pg/pg.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { ADMIN_TEXT = 900 };

static PGconn *admin;
static struct pg_server server; /* the same, for the tested code */

/* 0: connected, as cmocka wants it. Lines below errors are not logged from now on. */
static inline int admin_connect(void)
{
    struct err e = {0};
    const char *url = getenv("DATABASE_URL");
    log_setup(&(struct log_options){.level = LOG_ERROR});
    if (!url || !pg_server_init(&server, url, &e))
        return -1;
    admin = PQconnectdb(url);
    PQclear(PQexec(admin, "SET client_min_messages TO warning"));
    return PQstatus(admin) == CONNECTION_OK ? 0 : -1;
}

static inline void admin_disconnect(void)
{
    PQfinish(admin);
    pg_server_free(&server);
}

/* Runs a statement. out, if not NULL, gets the first value of its first row, or "". Returns out. */
__attribute__((format(printf, 3, 4))) static inline char *
runs_on(PGconn *conn, char out[ADMIN_TEXT], const char *format, ...)
{
    char sql[ADMIN_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    PGresult *res = PQexec(conn, sql);
    if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    if (out)
        snprintf(out, ADMIN_TEXT, "%s", PQntuples(res) ? PQgetvalue(res, 0, 0) : "");
    PQclear(res);
    return out;
}
#define runs(...) runs_on(admin, __VA_ARGS__)
