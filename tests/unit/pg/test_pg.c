/* pg against a real server: every failure is classified, every wait can be stopped, no message
 * holds a password.
 *
 * DATABASE_URL names a server where the user may create databases and roles. The test makes its own
 * and removes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/stop.h"
#include "pg/pg_pool.h"
#include "torture.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

enum {
    TEXT = 1000,
    /* the sanitizers on a busy machine, but no time limit of ours or of the kernel's */
    SOON_US = 10 * 1000000,
};

#define PASSWORD "pass/w0rd%of it"
#define PASSWORD_IN_URL "pass%2Fw0rd%25of%20it"

static char host[200], port[50], user[64], password[64]; /* from DATABASE_URL */
static char database[64], role[64];                      /* made for this run */
static PGconn *admin;                                    /* in that database */

/* ---- helpers ---- */

static const char *part(const PQconninfoOption *list, const char *keyword, const char *otherwise)
{
    for (; list->keyword; list++)
        if (strcmp(list->keyword, keyword) == 0 && list->val)
            return list->val;
    return otherwise;
}

static char *url_as(char out[TEXT], const char *as, const char *with, const char *db,
                    const char *more)
{
    snprintf(out, TEXT, "host=%s port=%s user='%s' password='%s' dbname='%s' %s", host, port, as,
             with, db, more);
    return out;
}

static void admin_runs(const char *format, ...)
{
    char sql[TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    PGresult *res = PQexec(admin, sql);
    if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(admin));
    PQclear(res);
}

/* Waits until the query, which gives one boolean, says true. */
static void admin_waits_until(const char *sql)
{
    for (int64_t end = clock_mono_us() + SOON_US; clock_mono_us() < end; usleep(10000)) {
        PGresult *res = PQexec(admin, sql);
        bool is_true = PQntuples(res) == 1 && pg_bool(res, 0, 0);
        PQclear(res);
        if (is_true)
            return;
    }
    fail_msg("never true: %s", sql);
}

static void holds_no_password(const struct err *e)
{
    assert_null(strstr(e->text, "w0rd"));
    assert_null(strstr(e->hint, "w0rd"));
    assert_null(strchr(e->text, '\n'));
    assert_null(strstr(e->text, "LOCATION"));
    assert_null(strstr(e->text, "(null)"));
}

struct session {
    struct pg_server server;
    struct pg_pool pool;
    struct pg *pg;
    struct err e;
};

static bool opens(struct session *s, const char *url)
{
    *s = (struct session){0};
    if (!pg_server_init(&s->server, url, &s->e))
        return false;
    pg_pool_init(&s->pool, &s->server);
    s->pg = pg_acquire(&s->pool, &s->e);
    return s->pg;
}

static void close_session(struct session *s)
{
    pg_release(&s->pool, s->pg);
    pg_pool_free(&s->pool);
    pg_server_free(&s->server);
}

static void open_session(struct session *s)
{
    char url[TEXT];
    if (!opens(s, url_as(url, user, password, database, "")))
        fail_msg("%s", s->e.text);
}

/* A connect that fails: as it should, and says what it should. */
static void refuses(const char *url, bool accepted, enum err_kind kind, const char *says)
{
    struct session s = {0};
    if (pg_server_init(&s.server, url, &s.e)) {
        s.server.accepted = accepted;
        pg_pool_init(&s.pool, &s.server);
        assert_null(s.pg = pg_acquire(&s.pool, &s.e));
    }
    if (!strstr(s.e.text, says))
        fail_msg("'%s' is not in: %s", says, s.e.text);
    assert_int_equal(s.e.kind, kind);
    holds_no_password(&s.e);
    close_session(&s);
}

/* The first value of the first row, for as long as *res lives. */
static const char *value(struct session *s, PGresult **res, const char *sql)
{
    if (!pg_query(s->pg, sql, 0, NULL, res, &s->e))
        fail_msg("%s: %s", sql, s->e.text);
    return PQgetvalue(*res, 0, 0);
}

static void gives(struct session *s, const char *sql, const char *expected)
{
    PGresult *res;
    assert_string_equal(value(s, &res, sql), expected);
    PQclear(res);
}

static void fails(struct session *s, const char *sql, enum err_kind kind, const char *says)
{
    PGresult *res;
    assert_false(pg_query(s->pg, sql, 0, NULL, &res, &s->e));
    assert_null(res);
    if (!strstr(s->e.text, says))
        fail_msg("'%s' is not in: %s", says, s->e.text);
    assert_int_equal(s->e.kind, kind);
    holds_no_password(&s->e);
}

/* A socket that listens on a free port of 127.0.0.1, and answers nobody. */
static int listen_mutely(int *its_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *its_port = ntohs(at.sin_port);
    return fd;
}

/* Fills the queue of a socket that listens: the kernel then drops further attempts, like a host
 * that is gone. */
static void fill_queue(int its_port, int fds[8])
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)its_port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < 8; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(fds[i], (struct sockaddr *)&at, sizeof at) == 0)
            continue;
        struct pollfd wait = {.fd = fds[i], .events = POLLOUT};
        poll(&wait, 1, 100);
    }
}

/* ---- the server's name ---- */

static void a_label_names_database_and_hosts_and_no_password(void **state)
{
    (void)state;
    static const struct {
        const char *url, *label;
    } cases[] = {
        {"postgresql://u:secret@db.example:5433/movies", "'movies' at db.example:5433"},
        {"host=a,b port=1,2 dbname=m password=secret", "'m' at a:1,b:2"},
        {"host=a,b port=7 dbname=m", "'m' at a:7,b:7"},
        {"host=/run/pg port=5432 dbname=m", "'m' at /run/pg/.s.PGSQL.5432"},
        {"postgresql://jo@h:1", "'jo' at h:1"},
        {"service=films password=secret", "of service 'films'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pg_server s;
        struct err e;
        assert_true(pg_server_init(&s, cases[i].url, &e));
        assert_string_equal(s.label, cases[i].label);
        pg_server_free(&s);
        pg_server_free(&s);
    }
}

static void a_damaged_url_is_refused_without_its_password(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "postgresql://u:pa/w0rd@h/db",  "postgresql://u:12/w0rd@h/db",
        "postgresql://u:w0rd%zz@h/db",  "host=h password=pa w0rd x",
        "host=h password=a w0rd=b",     "host=h port=w0rd",
        "postgresql://u:w0rd#x@h:y/db", "host=h password='w0rd",
        "postgresql://h/db?passw0rd=x", "foo://bar",
        "mysql://u:w0rd@h/db?a=b",      "POSTGRES://u:pa/w0rd@h/db",
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct pg_server s;
        struct err e = {0};
        assert_false(pg_server_init(&s, urls[i], &e));
        assert_int_equal(e.kind, ERR_USAGE);
        holds_no_password(&e);
        assert_true(e.hint[0]);
    }
    refuses("hots=here", false, ERR_USAGE, "invalid connection option \"hots\"");
}

static void a_server_without_memory_leaks_nothing(void **state)
{
    (void)state;
    struct pg_server s;
    struct err e;
    bool done = false;
    for (int n = 0; !done; n++) {
        allocations_left = n;
        done = pg_server_init(&s, "postgresql://u:secret@a:1,b:2/movies", &e);
        allocations_left = -1;
        assert_true(done || e.kind == ERR_FINAL);
    }
    pg_server_free(&s);
}

/* ---- connecting ---- */

static void a_session_has_the_settings_that_values_need(void **state)
{
    (void)state;
    struct session s;
    char url[TEXT];
    if (!opens(&s, url_as(url, role, PASSWORD, database, "client_encoding=LATIN1")))
        fail_msg("%s", s.e.text);
    assert_true(s.server.accepted);
    gives(&s, "SELECT timestamptz '2021-06-16 22:14:09.2+02' || ''", "2021-06-16 20:14:09.2+00");
    gives(&s, "SELECT date '2021-06-16'", "2021-06-16");
    gives(&s, "SELECT '\\x00ff'::bytea", "\\x00ff");
    gives(&s, "SELECT 0.1::float8 + 0.2", "0.30000000000000004");
    gives(&s, "SELECT interval '1 day 2 hours'", "1 day 02:00:00");
    gives(&s, "SHOW client_encoding", "UTF8");
    gives(&s, "SHOW application_name", "etl-engine");
    gives(&s, "SHOW transaction_isolation", "read committed");
    gives(&s, "SHOW jit", "off");
    close_session(&s);
}

static void the_url_overrides_our_defaults(void **state)
{
    (void)state;
    struct session s;
    char url[TEXT];
    assert_true(opens(
        &s, url_as(url, user, password, database, "application_name=films keepalives_idle=7")));
    gives(&s, "SHOW application_name", "films");
    close_session(&s);
}

static void a_url_may_be_percent_encoded(void **state)
{
    (void)state;
    struct session s;
    char url[2 * TEXT];
    snprintf(url, sizeof url, "postgresql://%s:%s@%s:%s/%s", role, PASSWORD_IN_URL, host, port,
             database);
    assert_true(opens(&s, url));
    close_session(&s);
}

static void a_wrong_password_is_final_until_the_server_has_let_us_in(void **state)
{
    (void)state;
    char url[TEXT];
    url_as(url, role, "wrong w0rd", database, "");
    refuses(url, false, ERR_FINAL, "password authentication failed for user");
    refuses(url, false, ERR_FINAL, "cannot connect to PostgreSQL '");
    refuses(url, true, ERR_PASSING, "could not connect to PostgreSQL '");
    snprintf(url, TEXT, "host=%s port=%s user=%s dbname=%s passfile=/dev/null", host, port, role,
             database);
    if (host[0] != '/')
        refuses(url, false, ERR_FINAL, "it requires a password, and none is set");
}

static void a_wrong_user_or_database_is_final(void **state)
{
    (void)state;
    char url[TEXT];
    refuses(url_as(url, "nobody_at_all", "w0rd", database, ""), false, ERR_FINAL, "nobody_at_all");
    refuses(url_as(url, user, password, "no such database", ""), false, ERR_FINAL,
            "database \"no such database\" does not exist");
    refuses(url_as(url, user, password, database, "options='-c no_such=1'"), false, ERR_FINAL,
            "no_such");
    refuses(url_as(url, user, password, database, "sslmode=nonsense"), false, ERR_FINAL,
            "nonsense");
    refuses(url_as(url, role, PASSWORD, "no such database", ""), true, ERR_PASSING,
            "does not exist");
}

static void a_server_that_is_not_there_is_passing(void **state)
{
    (void)state;
    char url[TEXT];
    snprintf(url, TEXT, "postgresql://u:%s@127.0.0.1:1/db", PASSWORD_IN_URL);
    refuses(url, false, ERR_PASSING,
            "could not connect to PostgreSQL 'db' at 127.0.0.1:1: Connection refused");
    refuses("postgresql://u:w0rd@no-such-host.invalid/db", false, ERR_PASSING,
            "could not translate host name");
    refuses("postgresql://u:w0rd@/db?host=/no/such/folder", false, ERR_PASSING,
            "No such file or directory");
}

static void the_next_host_is_tried(void **state)
{
    (void)state;
    struct session s;
    char url[TEXT];
    snprintf(url, TEXT, "host=127.0.0.1,%s port=1,%s user=%s password='%s' dbname=%s", host, port,
             user, password, database);
    assert_true(opens(&s, url));
    close_session(&s);
    snprintf(url, TEXT, "host=127.0.0.1,%s port=1,%s user=%s password='w0rd' dbname=%s", host, port,
             role, database);
    refuses(url, false, ERR_FINAL, "password authentication failed");
    refuses(url_as(url, user, password, database, "target_session_attrs=standby"), false,
            ERR_PASSING, "standby");
}

static void a_silent_host_is_given_up_and_the_next_one_tried(void **state)
{
    (void)state;
    struct session s;
    char url[TEXT];
    int silent, fds[8], fd = listen_mutely(&silent);
    int64_t begin = clock_mono_us();
    snprintf(url, TEXT, "host=127.0.0.1 port=%d user=u password=w0rd dbname=db connect_timeout=1",
             silent);
    /* takes the connection, says nothing */
    refuses(url, false, ERR_PASSING, "no answer within 1 s");
    fill_queue(silent, fds);
    refuses(url, false, ERR_PASSING, "no answer within 1 s"); /* does not even take it */
    snprintf(url, TEXT,
             "host=127.0.0.1,%s port=%d,%s user=%s password='%s' dbname=%s connect_timeout=1", host,
             silent, port, user, password, database);
    if (!opens(&s, url))
        fail_msg("%s", s.e.text);
    close_session(&s);
    assert_true(clock_mono_us() - begin < SOON_US);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    close(fd);
}

static void too_many_clients_is_passing(void **state)
{
    (void)state;
    struct session s;
    char url[TEXT];
    url_as(url, role, PASSWORD, database, "");
    admin_runs("ALTER ROLE %s CONNECTION LIMIT 1", role);
    assert_true(opens(&s, url));
    refuses(url, false, ERR_PASSING, "too many connections for role");
    admin_runs("ALTER ROLE %s CONNECTION LIMIT -1", role);
    close_session(&s);
}

static void a_connect_without_memory_leaks_nothing(void **state)
{
    (void)state;
    char url[TEXT];
    struct pg_server server;
    struct pg_pool pool;
    struct err e;
    assert_true(pg_server_init(&server, url_as(url, user, password, database, ""), &e));
    pg_pool_init(&pool, &server);
    struct pg *pg = NULL;
    for (int n = 0; !pg; n++) {
        allocations_left = n;
        pg = pg_acquire(&pool, &e);
        allocations_left = -1;
        assert_true(pg || e.kind == ERR_FINAL);
    }
    pg_release(&pool, pg);
    pg_pool_free(&pool);
    pg_server_free(&server);
}

/* ---- the pool ---- */

static void an_idle_connection_is_taken_again(void **state)
{
    (void)state;
    struct session s;
    open_session(&s);
    struct pg *first = s.pg;
    pg_release(&s.pool, s.pg);
    assert_ptr_equal(s.pg = pg_acquire(&s.pool, &s.e), first);
    struct pg *second = pg_acquire(&s.pool, &s.e);
    assert_non_null(second);
    assert_ptr_not_equal(second, first);
    pg_release(&s.pool, second);
    close_session(&s);
}

static void a_connection_amid_something_is_closed(void **state)
{
    (void)state;
    struct session s;
    int64_t clock_us;
    char asleep[TEXT], sql[TEXT];
    open_session(&s);
    PGresult *res;
    const char *pid = value(&s, &res, "SELECT pg_backend_pid()");
    snprintf(sql, sizeof sql, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)",
             pid);
    snprintf(asleep, sizeof asleep,
             "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s", pid);
    PQclear(res);
    assert_true(
        pg_stream(s.pg, &(struct pg_statement){.sql = "SELECT pg_sleep(60)"}, &clock_us, &s.e));
    admin_waits_until(asleep); /* a server that has not begun has nothing to cancel */
    pg_release(&s.pool, s.pg); /* the server sleeps for a minute: it is cancelled */
    assert_int_equal(pg_pool_idle(&s.pool), 0);
    admin_waits_until(sql);
    assert_non_null(s.pg = pg_acquire(&s.pool, &s.e));
    assert_true(pg_query(s.pg, "BEGIN", 0, NULL, &res, &s.e));
    PQclear(res);
    pg_release(&s.pool, s.pg);
    assert_int_equal(pg_pool_idle(&s.pool), 0);
    s.pg = NULL;
    close_session(&s);
}

static void an_idle_connection_that_died_is_replaced(void **state)
{
    (void)state;
    struct session s;
    PGresult *res;
    char pid[32], gone[TEXT];
    open_session(&s);
    snprintf(pid, sizeof pid, "%s", value(&s, &res, "SELECT pg_backend_pid()"));
    PQclear(res);
    pg_release(&s.pool, s.pg);
    admin_runs("SELECT pg_terminate_backend(%s)", pid);
    snprintf(gone, sizeof gone, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)",
             pid);
    admin_waits_until(gone);
    assert_non_null(s.pg = pg_acquire(&s.pool, &s.e));
    gives(&s, "SELECT 1", "1");
    close_session(&s);
}

/* ---- queries ---- */

static void a_query_error_names_the_place_and_the_remedy(void **state)
{
    (void)state;
    struct session s;
    open_session(&s);
    fails(&s, "SELECT 'Чайка' AS a,\n  1 AS b,\n  fw.titel, fw.id\nFROM film fw", ERR_FINAL,
          "column fw.titel does not exist (line 3: fw.titel, fw.id)");
    assert_non_null(strstr(s.e.hint, "fw.title"));
    fails(&s, "SELECT 'Чайка', nothing", ERR_FINAL,
          "column \"nothing\" does not exist (line 1: nothing)");
    fails(&s, "SELECT 1 FROM\n", ERR_FINAL, "syntax error at end of input (line 2)");
    fails(&s, "SELECT FROM films", ERR_FINAL, "relation \"films\" does not exist");
    fails(&s, "SELECT 1 / 0", ERR_FINAL, "division by zero");
    fails(&s, "SELECT 1; SELECT 2", ERR_FINAL, "cannot insert multiple commands");
    fails(&s, "  ", ERR_FINAL, "the query is empty");
    gives(&s, "SELECT 'still here'", "still here");
    close_session(&s);
}

/* VACUUM refuses to run in one transaction with anything else; a procedure that commits may; and
 * what fails at the transaction's end has failed. */
static void a_statement_may_need_a_transaction_of_its_own(void **state)
{
    (void)state;
    struct session s;
    PGresult *res;
    open_session(&s);
    assert_true(pg_query(s.pg, "VACUUM film", 0, NULL, &res, &s.e));
    assert_string_equal(PQcmdStatus(res), "VACUUM");
    PQclear(res);
    admin_runs("CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$");
    assert_true(pg_query(s.pg, "CALL commits()", 0, NULL, &res, &s.e));
    PQclear(res);
    fails(&s, "VACUUM nothing", ERR_FINAL, "relation \"nothing\" does not exist");
    admin_runs("CREATE TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO late "
               "VALUES (1)");
    fails(&s, "INSERT INTO late VALUES (1)", ERR_FINAL, "duplicate key");
    gives(&s, "SELECT count(*) FROM late", "1");
    admin_runs("DROP TABLE late; DROP PROCEDURE commits");
    close_session(&s);
}

/* As another user of a pooler's session may have left it; and nothing of ours is left there. */
static void a_sessions_own_settings_do_not_matter(void **state)
{
    (void)state;
    static const char spoilt[] =
        "SELECT set_config('IntervalStyle', 'sql_standard', false), set_config('TimeZone', "
        "'Asia/Tokyo', "
        "false),"
        " set_config('client_encoding', 'LATIN1', false), set_config('bytea_output', 'escape', "
        "false),"
        " set_config('default_transaction_isolation', 'serializable', false)";
    struct session s;
    PGresult *res;
    open_session(&s);
    assert_true(pg_query(s.pg, spoilt, 0, NULL, &res, &s.e));
    PQclear(res);
    gives(&s, "SELECT interval '1 day 2 hours'", "1 day 02:00:00");
    gives(&s, "SELECT timestamptz '2021-06-16 22:14:09.2+02' || ''", "2021-06-16 20:14:09.2+00");
    gives(&s, "SELECT '\\x00ff'::bytea", "\\x00ff");
    gives(&s, "SELECT 'Ж'", "Ж");
    gives(&s, "SHOW transaction_isolation", "read committed");
    gives(&s, "SELECT reset_val FROM pg_settings WHERE name = 'IntervalStyle'", "postgres");
    gives(&s, "SHOW default_transaction_isolation", "serializable");
    close_session(&s);
}

static void passing_errors_are_told_from_final_ones(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        enum err_kind kind;
    } cases[] = {
        {"08006", ERR_PASSING}, {"53100", ERR_PASSING}, {"53300", ERR_PASSING},
        {"57P03", ERR_PASSING}, {"57014", ERR_PASSING}, {"40001", ERR_PASSING},
        {"40P01", ERR_PASSING}, {"25006", ERR_PASSING}, {"55P03", ERR_PASSING},
        {"XX000", ERR_FINAL},   {"42501", ERR_FINAL},   {"22012", ERR_FINAL},
        {"57000", ERR_FINAL},   {"25001", ERR_FINAL},   {"P0001", ERR_FINAL},
        {"58030", ERR_FINAL},
    };
    struct session s;
    char sql[TEXT];
    open_session(&s);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(sql, sizeof sql, "DO $$ BEGIN RAISE 'as\nasked' USING ERRCODE = '%s'; END $$",
                 cases[i].sqlstate);
        fails(&s, sql, cases[i].kind, "as; asked");
    }
    gives(&s, "SELECT set_config('statement_timeout', '50', false)", "50ms");
    fails(&s, "SELECT pg_sleep(60)", ERR_PASSING, "statement timeout");
    close_session(&s);
}

static void a_command_has_no_rows_and_copy_is_refused(void **state)
{
    (void)state;
    struct session s;
    PGresult *res;
    open_session(&s);
    assert_true(pg_query(s.pg, "CREATE TEMP TABLE t (a int)", 0, NULL, &res, &s.e));
    assert_int_equal(PQntuples(res), 0);
    PQclear(res);
    const char *params[] = {"7", NULL};
    assert_true(pg_query(s.pg, "SELECT $1::int + 1, $2::text", 2, params, &res, &s.e));
    assert_string_equal(PQgetvalue(res, 0, 0), "8");
    assert_true(PQgetisnull(res, 0, 1));
    PQclear(res);
    fails(&s, "COPY t FROM STDIN", ERR_FINAL, "cannot run COPY: use SELECT");
    fails(&s, "SELECT 1", ERR_PASSING, "could not use the connection");
    pg_release(&s.pool, s.pg);
    assert_non_null(s.pg = pg_acquire(&s.pool, &s.e));
    fails(&s, "COPY (SELECT 1) TO STDOUT", ERR_FINAL, "cannot run COPY: use SELECT");
    close_session(&s);
}

static void a_lost_connection_is_passing(void **state)
{
    (void)state;
    struct session s;
    PGresult *res;
    open_session(&s);
    fails(&s, "SELECT pg_terminate_backend(pg_backend_pid())", ERR_PASSING,
          "lost the connection to PostgreSQL '");
    assert_false(pg_query(s.pg, "SELECT 1", 0, NULL, &res, &s.e));
    assert_int_equal(s.e.kind, ERR_PASSING);
    pg_release(&s.pool, s.pg);
    assert_int_equal(pg_pool_idle(&s.pool), 0);
    assert_non_null(s.pg = pg_acquire(&s.pool, &s.e));
    close_session(&s);
}

/* ---- streams ---- */

static long resident_kb(void)
{
    long pages = 0, ignored;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &ignored, &pages), 2);
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void stream_many(struct session *s, int64_t *clock_us)
{
    const PGresult *row;
    const char *count = "100000";
    long n = 0, kb = 0;
    if (!pg_stream(s->pg,
                   &(struct pg_statement){
                       .sql = "SELECT n, repeat('x', 500) FROM generate_series(1, $1::int) n",
                       .n = 1,
                       .params = &count},
                   clock_us, &s->e))
        fail_msg("%s", s->e.text);
    while (pg_next(s->pg, &row, &s->e) && row) {
        assert_int_equal(PQntuples(row), 1);
        assert_int_equal(strtol(PQgetvalue(row, 0, 0), NULL, 10), ++n);
        if (n == 1000)
            kb = resident_kb();
    }
    assert_null(row);
    assert_int_equal(n, 100000);
    if (!SANITIZED) /* its quarantine keeps what was freed */
        assert_true(resident_kb() - kb < 4096);
    assert_true(pg_next(s->pg, &row, &s->e) && !row);
}

static void a_stream_of_100000_rows_holds_memory_flat(void **state)
{
    (void)state;
    struct session s;
    int64_t clock_us = 0;
    open_session(&s);
    stream_many(&s, NULL);
    stream_many(&s, &clock_us);
    gives(&s, "SELECT 'usable again'", "usable again");
    pg_release(&s.pool, s.pg);
    assert_int_equal(pg_pool_idle(&s.pool), 1);
    s.pg = pg_acquire(&s.pool, &s.e);
    close_session(&s);
}

/* Until `most` bytes are in memory, or the connection has ended. */
static void read_ahead(struct pg *pg, size_t most)
{
    for (int fd; (fd = pg_ahead_fd(pg, most)) >= 0;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 60000), 1);
        pg_read_ahead(pg);
    }
}

/* Of rows with a number and 500 bytes. */
static void check_row(const PGresult *row, long n)
{
    assert_non_null(row);
    assert_int_equal(strtol(PQgetvalue(row, 0, 0), NULL, 10), n);
    assert_int_equal(PQgetlength(row, 0, 1), 500);
}

static void begin_rows(struct session *s, const char *count, int64_t *clock_us)
{
    struct pg_statement numbers = {
        .sql = "SELECT n, repeat('x', 500) FROM generate_series(1, $1::int) n",
        .n = 1,
        .params = &count};
    assert_int_equal(pg_ahead_fd(s->pg, 1), -1);
    assert_true(pg_stream(s->pg, &numbers, clock_us, &s->e));
}

static void rows_that_are_read_ahead_come_in_order_and_none_is_lost(void **state)
{
    (void)state;
    enum { MOST = 1 << 20, BETWEEN = 700, ROWS = 20000 };
    struct session s;
    int64_t clock_us;
    const PGresult *row;
    open_session(&s);
    begin_rows(&s, "20000", &clock_us);
    long n = 0, kb = 0;
    for (; n < ROWS; n++) {
        if (n % BETWEEN == 0 && n < ROWS / 2) /* while there are so many more */
            read_ahead(s.pg, MOST);
        if (n == 2 * BETWEEN)
            kb = resident_kb();
        assert_true(pg_next(s.pg, &row, &s.e));
        check_row(row, n + 1);
    }
    if (!SANITIZED)
        assert_true(resident_kb() - kb < 4 * MOST / 1024);
    assert_true(pg_next(s.pg, &row, &s.e) && !row);
    assert_int_equal(pg_ahead_fd(s.pg, MOST), -1);
    gives(&s, "SELECT 'usable again'", "usable again");
    close_session(&s);
}

/* The rows before it come all the same. */
static void a_backend_that_ends_while_rows_are_read_ahead_is_passing(void **state)
{
    (void)state;
    struct session s;
    const PGresult *row;
    PGresult *res;
    int64_t clock_us;
    char pid[32];
    open_session(&s);
    snprintf(pid, sizeof pid, "%s", value(&s, &res, "SELECT pg_backend_pid()"));
    PQclear(res);
    begin_rows(&s, "100000", &clock_us);
    read_ahead(s.pg, 100 << 10);
    admin_runs("SELECT pg_terminate_backend(%s)", pid);
    read_ahead(s.pg, SIZE_MAX); /* to the connection's end */
    long n = 0;
    while (pg_next(s.pg, &row, &s.e) && row)
        check_row(row, ++n);
    assert_true(n > 100);
    assert_int_equal(s.e.kind, ERR_PASSING);
    assert_int_equal(pg_ahead_fd(s.pg, SIZE_MAX), -1);
    close_session(&s);
}

static void a_streams_errors_leave_the_connection_usable(void **state)
{
    (void)state;
    struct session s;
    const PGresult *row;
    PGresult *res;
    int64_t clock_us;
    open_session(&s);
    for (int i = 0; i < 2; i++) {
        int64_t *clock = i ? &clock_us : NULL;
        assert_true(pg_stream(s.pg, &(struct pg_statement){.sql = "SELECT nothing\n FROM film"},
                              clock, &s.e));
        assert_false(pg_next(s.pg, &row, &s.e));
        assert_string_equal(s.e.text, "column \"nothing\" does not exist (line 1: nothing)");
        assert_true(pg_stream(
            s.pg, &(struct pg_statement){.sql = "SELECT 1 / (n - 3) FROM generate_series(1, 9) n"},
            clock, &s.e));
        assert_false(pg_query(s.pg, "SELECT 1", 0, NULL, &res, &s.e)); /* amid a stream */
        assert_int_equal(s.e.kind, ERR_FINAL);
        assert_true(pg_next(s.pg, &row, &s.e) && row);
        assert_true(pg_next(s.pg, &row, &s.e) && row);
        assert_false(pg_next(s.pg, &row, &s.e));
        assert_string_equal(s.e.text, "division by zero");
        assert_true(
            pg_stream(s.pg, &(struct pg_statement){.sql = "SELECT 1 WHERE false"}, clock, &s.e));
        assert_true(pg_next(s.pg, &row, &s.e) && !row);
        gives(&s, "SELECT 'still here'", "still here");
    }
    close_session(&s);
}

/* The role's own default is REPEATABLE READ, where the clock would be read in the query's
 * snapshot. */
static void the_clock_is_read_before_the_querys_snapshot(void **state)
{
    (void)state;
    struct session s;
    char url[TEXT];
    const PGresult *row;
    int64_t clock_us = 0;
    assert_true(opens(&s, url_as(url, role, PASSWORD, database, "")));
    admin_runs("BEGIN; LOCK TABLE film IN ACCESS EXCLUSIVE MODE; INSERT INTO film VALUES (77, "
               "'after the clock')");
    /* comes back with the clock, while the query waits for the lock */
    assert_true(
        pg_stream(s.pg,
                  &(struct pg_statement){
                      .sql = "SELECT title, extract(epoch FROM now()) FROM film WHERE id = 77"},
                  &clock_us, &s.e));
    assert_true(llabs(clock_us - clock_wall_us()) <
                3600 * INT64_C(1000000)); /* the same machine's clock, perhaps */
    admin_waits_until("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)");
    admin_runs("COMMIT");
    assert_true(pg_next(s.pg, &row, &s.e));
    assert_non_null(row);
    assert_string_equal(PQgetvalue(row, 0, 0), "after the clock");
    assert_true(pg_next(s.pg, &row, &s.e) && !row);
    admin_runs("DELETE FROM film WHERE id = 77");
    close_session(&s);
}

static void a_backend_that_ends_amid_a_stream_is_passing(void **state)
{
    (void)state;
    int64_t clock_us;
    for (int i = 0; i < 2; i++) {
        struct session s;
        const PGresult *row;
        PGresult *res;
        char pid[32];
        open_session(&s);
        snprintf(pid, sizeof pid, "%s", value(&s, &res, "SELECT pg_backend_pid()"));
        PQclear(res);
        assert_true(
            pg_stream(s.pg,
                      &(struct pg_statement){
                          .sql = "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"},
                      i ? &clock_us : NULL, &s.e));
        assert_true(pg_next(s.pg, &row, &s.e) && row);
        admin_runs("SELECT pg_terminate_backend(%s)", pid);
        bool ok;
        while ((ok = pg_next(s.pg, &row, &s.e)) && row)
            ;
        assert_false(ok);
        assert_int_equal(s.e.kind, ERR_PASSING);
        assert_non_null(strstr(s.e.text, "lost the connection to PostgreSQL '"));
        holds_no_password(&s.e);
        close_session(&s);
    }
}

/* ---- stopping ---- */

/* In a child, for a process can be stopped only once. Its exit status: what it found wrong. */
static int sleeps_until_stopped(bool stream, const char *url)
{
    struct session s;
    PGresult *res;
    const PGresult *row;
    int64_t clock_us;
    if (!stop_init(&s.e))
        return 1;
    if (!opens(&s, url))
        return 2;
    bool ok = stream ? pg_stream(s.pg, &(struct pg_statement){.sql = "SELECT pg_sleep(60)"},
                                 &clock_us, &s.e) &&
                           pg_next(s.pg, &row, &s.e)
                     : pg_query(s.pg, "SELECT pg_sleep(60)", 0, NULL, &res, &s.e);
    if (ok)
        return 3;
    close_session(&s);
    return s.e.kind == ERR_STOPPED ? 0 : 4;
}

static void a_stop_wakes_a_query_and_cancels_it(void **state)
{
    (void)state;
    char url[TEXT];
    url_as(url, user, password, database, "application_name=sleeper");
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(sleeps_until_stopped(i, url));
        admin_waits_until(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'sleeper' "
            "AND query LIKE '%pg_sleep%' AND wait_event = 'PgSleep')");
        int64_t begin = clock_mono_us();
        int status;
        kill(child, SIGTERM);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_true(clock_mono_us() - begin < SOON_US);
        admin_waits_until(
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'sleeper')");
    }
}

static int connects_until_stopped(const char *url)
{
    struct session s;
    if (!stop_init(&s.e))
        return 1;
    raise(SIGINT); /* noted: the wait that comes next ends at once */
    if (opens(&s, url))
        return 2;
    close_session(&s);
    return s.e.kind == ERR_STOPPED ? 0 : 3;
}

static void a_stop_wakes_a_connect(void **state)
{
    (void)state;
    char url[TEXT];
    int silent, status, fd = listen_mutely(&silent);
    snprintf(url, TEXT, "host=127.0.0.1 port=%d user=u dbname=db connect_timeout=60", silent);
    int64_t begin = clock_mono_us();
    pid_t child = fork();
    if (child == 0)
        _exit(connects_until_stopped(url));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(clock_mono_us() - begin < SOON_US);
    close(fd);
}

/* ---- types ---- */

static const struct {
    const char *sql, *type;
    enum pg_kind kind;
    bool array;
    char delimiter;
} types[] = {
    {"1::int2", "smallint", PG_INT, false, 0},
    {"1::int4", "integer", PG_INT, false, 0},
    {"1::int8", "bigint", PG_INT, false, 0},
    {"1::oid", "oid", PG_INT, false, 0},
    {"1::float4", "real", PG_FLOAT, false, 0},
    {"1::float8", "double precision", PG_FLOAT, false, 0},
    {"1::numeric(9,2)", "numeric", PG_NUMERIC, false, 0},
    {"true", "boolean", PG_BOOL, false, 0},
    {"''::text", "text", PG_TEXT, false, 0},
    {"'unknown'", "text", PG_TEXT, false, 0},
    {"''::varchar(3)", "character varying", PG_TEXT, false, 0},
    {"'a'::\"char\"", "\"char\"", PG_TEXT, false, 0},
    {"''::char(3)", "bpchar", PG_TEXT, false, 0},
    {"''::name", "name", PG_TEXT, false, 0},
    {"gen_random_uuid()", "uuid", PG_TEXT, false, 0},
    {"'::1'::inet", "inet", PG_TEXT, false, 0},
    {"interval '1 day'", "interval", PG_TEXT, false, 0},
    {"int4range(1, 2)", "int4range", PG_TEXT, false, 0},
    {"now()", "timestamp with time zone", PG_TIMESTAMPTZ, false, 0},
    {"localtimestamp", "timestamp without time zone", PG_TIMESTAMP, false, 0},
    {"current_date", "date", PG_DATE, false, 0},
    {"localtime", "time without time zone", PG_TEXT, false, 0},
    {"''::bytea", "bytea", PG_BYTEA, false, 0},
    {"'{}'::json", "json", PG_JSON, false, 0},
    {"'{}'::jsonb", "jsonb", PG_JSON, false, 0},
    {"'1 2'::int2vector", "int2vector", PG_TEXT, false, 0},
    {"'1 2'::oidvector", "oidvector", PG_TEXT, false, 0},
    {"point '1,2'", "point", PG_TEXT, false, 0},
    {"ROW(1, 2)", "record", PG_TEXT, false, 0},
    {"'1'::money", "money", PG_TEXT, false, 0},
    {"'{}'::int[]", "integer[]", PG_INT, true, ','},
    {"'{}'::text[]", "text[]", PG_TEXT, true, ','},
    {"'{}'::jsonb[]", "jsonb[]", PG_JSON, true, ','},
    {"'{}'::timestamptz[]", "timestamp with time zone[]", PG_TIMESTAMPTZ, true, ','},
    {"'{}'::box[]", "box[]", PG_TEXT, true, ';'},
    {"'{}'::int2vector[]", "int2vector[]", PG_TEXT, true, ','},
    {"'happy'::mood", "mood", PG_TEXT, false, 0},
    {"'{happy}'::mood[]", "mood[]", PG_TEXT, true, ','},
    {"1::rating", "numeric", PG_NUMERIC, false, 0},
    {"1::stars", "numeric", PG_NUMERIC, false, 0}, /* a domain over a domain */
    {"'{1}'::stars[]", "stars[]", PG_NUMERIC, true, ','},
    {"'{1}'::many", "integer[]", PG_INT, true, ','}, /* a domain over an array */
    {"'{}'::many[]", "many[]", PG_TEXT, true, ','},  /* an array of such domains */
    {"'{}'::boxes", "box[]", PG_TEXT, true, ';'},
    {"ROW(1, 'a')::pair", "pair", PG_TEXT, false, 0},
    {"'{}'::pair[]", "pair[]", PG_TEXT, true, ','},
    {"NULL::film", "film", PG_TEXT, false, 0},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

static char *select_all_types(void)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < N_TYPES; i++)
        buf_addf(&b, "%s %s AS \"c%zu\"", i == 0 ? "SELECT" : ",", types[i].sql, i);
    assert_non_null(buf_cstr(&b));
    return b.data;
}

static void every_type_is_described(void **state)
{
    (void)state;
    struct session s;
    struct pg_columns c;
    char *sql = select_all_types();
    open_session(&s);
    if (!pg_describe(s.pg, sql, &c, &s.e))
        fail_msg("%s", s.e.text);
    assert_int_equal(c.n, N_TYPES);
    for (size_t i = 0; i < N_TYPES; i++) {
        char name[20];
        snprintf(name, sizeof name, "c%zu", i);
        assert_int_equal(pg_column(&c, name), (int)i);
        if (strcmp(c.list[i].type, types[i].type) != 0 || c.list[i].kind != types[i].kind ||
            c.list[i].array != types[i].array ||
            (types[i].array && c.list[i].delimiter != types[i].delimiter))
            fail_msg("%s: type %s, kind %d, array %d, delimiter %c", types[i].sql, c.list[i].type,
                     c.list[i].kind, c.list[i].array, c.list[i].delimiter);
    }
    assert_int_equal(pg_column(&c, "none"), -1);
    pg_columns_free(&c);
    pg_columns_free(&c);
    free(sql);
    close_session(&s);
}

static void a_description_does_not_run_the_query_and_fails_clearly(void **state)
{
    (void)state;
    struct session s;
    struct pg_columns c;
    open_session(&s);
    assert_true(pg_describe(s.pg, "SELECT 1 / 0 AS a, $1::text AS a", &c, &s.e));
    assert_int_equal(c.n, 2);
    assert_int_equal(pg_column(&c, "a"), 0);
    pg_columns_free(&c);
    assert_true(pg_describe(s.pg, "CREATE TABLE never (a int)", &c, &s.e));
    assert_int_equal(c.n, 0);
    pg_columns_free(&c);
    assert_false(pg_describe(s.pg, "SELECT id,\n titel FROM film", &c, &s.e));
    assert_string_equal(s.e.text, "column \"titel\" does not exist (line 2: titel FROM film)");
    gives(&s, "SELECT to_regclass('never') IS NULL", "t");
    close_session(&s);
}

static void a_description_counts_the_parameters(void **state)
{
    (void)state;
    struct session s;
    struct pg_columns c;
    Oid integers = 1007; /* int4[] */
    open_session(&s);
    assert_true(pg_describe_statement(
        s.pg, &(struct pg_statement){.sql = "SELECT 1 WHERE 1 = ANY($1)"}, &c, &s.e));
    assert_int_equal(c.parameters, 1);
    pg_columns_free(&c);
    assert_true(pg_describe_statement(s.pg, &(struct pg_statement){.sql = "SELECT 1"}, &c, &s.e));
    assert_int_equal(c.parameters, 0);
    pg_columns_free(&c);
    assert_false(
        pg_describe_statement(s.pg, &(struct pg_statement){.sql = "SELECT unnest($1)"}, &c, &s.e));
    assert_true(pg_describe_statement(
        s.pg, &(struct pg_statement){.sql = "SELECT unnest($1)", .n = 1, .types = &integers}, &c,
        &s.e));
    assert_string_equal(c.list[0].type, "integer");
    pg_columns_free(&c);
    close_session(&s);
}

static void a_description_without_memory_leaks_nothing(void **state)
{
    (void)state;
    struct session s;
    struct pg_columns c;
    bool done = false;
    open_session(&s);
    for (int n = 0; !done; n++) {
        allocations_left = n;
        done = pg_describe(s.pg, "SELECT 1 AS a, 'x' AS b, '{1}'::int[] AS c", &c, &s.e);
        allocations_left = -1;
        assert_true(done || (s.e.kind == ERR_FINAL && !c.list));
    }
    pg_columns_free(&c);
    close_session(&s);
}

/* ---- SQL texts ---- */

static void an_array_literal_reads_back_the_same(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "plain", "",       "NULL",   "null", NULL,      "a\"b",     "\"",     "back\\slash",
        "\\",    "\\\\\"", "a,b",    "{}",   "{\"a\"}", " a ",      "\t\n",   "Чайка",
        "🎬",     "it's",   "$1",     "a;b",  "%s%n",    "\x01\x7f", "tt'--x", "''",
        "}",     "{",      "NULL\"", "\\N",  "E'\\n'",  "::",
    };
    enum { N = sizeof texts / sizeof texts[0] };
    struct session s;
    struct buf b;
    PGresult *res;
    open_session(&s);
    buf_init(&b, 10000);
    pg_add_array(&b, texts, N);
    const char *param = buf_cstr(&b);
    assert_non_null(param);
    if (!pg_query(s.pg, "SELECT unnest($1::text[])", 1, &param, &res, &s.e))
        fail_msg("%s", s.e.text);
    assert_int_equal(PQntuples(res), N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(PQgetisnull(res, i, 0), !texts[i]);
        assert_string_equal(PQgetvalue(res, i, 0), texts[i] ? texts[i] : "");
    }
    PQclear(res);
    buf_clear(&b);
    pg_add_array(&b, NULL, 0);
    assert_string_equal(buf_cstr(&b), "{}");
    buf_free(&b);
    close_session(&s);
}

static void an_identifier_is_taken_literally(void **state)
{
    (void)state;
    static const char *const names[] = {"plain",  "Mixed Case", "a\"b", "\"",
                                        "select", "Чайка",      "a.b",  "x'; DROP"};
    struct session s;
    open_session(&s);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct buf b;
        PGresult *res;
        buf_init(&b, 1000);
        buf_adds(&b, "SELECT 1 AS ");
        pg_add_identifier(&b, names[i]);
        assert_non_null(buf_cstr(&b));
        value(&s, &res, b.data);
        assert_string_equal(PQfname(res, 0), names[i]);
        PQclear(res);
        buf_free(&b);
    }
    close_session(&s);
}

/* ---- the run ---- */

static int set_up(void **state)
{
    (void)state;
    char *reason = NULL, url[TEXT];
    PQconninfoOption *list = PQconninfoParse(getenv("DATABASE_URL"), &reason);
    if (!list) {
        print_error("DATABASE_URL: %s", reason);
        PQfreemem(reason);
        return -1;
    }
    snprintf(host, sizeof host, "%s", part(list, "host", "127.0.0.1"));
    snprintf(port, sizeof port, "%s", part(list, "port", "5432"));
    snprintf(user, sizeof user, "%s", part(list, "user", "postgres"));
    snprintf(password, sizeof password, "%s", part(list, "password", ""));
    PQconninfoFree(list);
    snprintf(database, sizeof database, "unit_pg_%d", (int)getpid());
    snprintf(role, sizeof role, "unit_pg_%d", (int)getpid());
    admin = PQconnectdb(url_as(url, user, password, "postgres", ""));
    if (PQstatus(admin) != CONNECTION_OK) {
        print_error("DATABASE_URL: %s", PQerrorMessage(admin));
        PQfinish(admin);
        return -1;
    }
    admin_runs("CREATE DATABASE %s", database);
    PQfinish(admin);
    admin = PQconnectdb(url_as(url, user, password, database, ""));
    admin_runs("CREATE ROLE %s LOGIN PASSWORD '%s'", role, PASSWORD);
    admin_runs("ALTER ROLE %s SET default_transaction_isolation = 'repeatable read'", role);
    admin_runs(
        "ALTER ROLE %s SET DateStyle = 'German'; ALTER ROLE %s SET TimeZone = 'Europe/Moscow'",
        role, role);
    admin_runs(
        "ALTER ROLE %s SET bytea_output = 'escape'; ALTER ROLE %s SET extra_float_digits = -5",
        role, role);
    admin_runs("ALTER ROLE %s SET IntervalStyle = 'iso_8601'; ALTER ROLE %s SET jit = on", role,
               role);
    admin_runs("CREATE TABLE film (id int PRIMARY KEY, title text); GRANT SELECT ON film TO %s",
               role);
    admin_runs("CREATE TYPE mood AS ENUM ('happy', 'sad'); CREATE TYPE pair AS (a int, b text)");
    admin_runs(
        "CREATE DOMAIN rating AS numeric(4, 1); CREATE DOMAIN stars AS rating CHECK (value <= 5)");
    admin_runs("CREATE DOMAIN many AS int[]; CREATE DOMAIN boxes AS box[]");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char url[TEXT];
    PQfinish(admin);
    admin = PQconnectdb(url_as(url, user, password, "postgres", ""));
    admin_runs("DROP DATABASE %s WITH (FORCE)", database);
    admin_runs("DROP ROLE %s", role);
    PQfinish(admin);
    return 0;
}

static void is_skipped(void **state)
{
    (void)state;
    print_message("no DATABASE_URL: try make unit\n");
    if (getenv("CI"))
        fail();
    skip();
}

int main(void)
{
    const struct CMUnitTest skipped[] = {cmocka_unit_test(is_skipped)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_label_names_database_and_hosts_and_no_password),
        cmocka_unit_test(a_damaged_url_is_refused_without_its_password),
        cmocka_unit_test(a_server_without_memory_leaks_nothing),
        cmocka_unit_test(a_session_has_the_settings_that_values_need),
        cmocka_unit_test(the_url_overrides_our_defaults),
        cmocka_unit_test(a_url_may_be_percent_encoded),
        cmocka_unit_test(a_wrong_password_is_final_until_the_server_has_let_us_in),
        cmocka_unit_test(a_wrong_user_or_database_is_final),
        cmocka_unit_test(a_server_that_is_not_there_is_passing),
        cmocka_unit_test(the_next_host_is_tried),
        cmocka_unit_test(a_silent_host_is_given_up_and_the_next_one_tried),
        cmocka_unit_test(too_many_clients_is_passing),
        cmocka_unit_test(a_connect_without_memory_leaks_nothing),
        cmocka_unit_test(an_idle_connection_is_taken_again),
        cmocka_unit_test(a_connection_amid_something_is_closed),
        cmocka_unit_test(an_idle_connection_that_died_is_replaced),
        cmocka_unit_test(a_query_error_names_the_place_and_the_remedy),
        cmocka_unit_test(a_statement_may_need_a_transaction_of_its_own),
        cmocka_unit_test(a_sessions_own_settings_do_not_matter),
        cmocka_unit_test(passing_errors_are_told_from_final_ones),
        cmocka_unit_test(a_command_has_no_rows_and_copy_is_refused),
        cmocka_unit_test(a_lost_connection_is_passing),
        cmocka_unit_test(a_stream_of_100000_rows_holds_memory_flat),
        cmocka_unit_test(rows_that_are_read_ahead_come_in_order_and_none_is_lost),
        cmocka_unit_test(a_backend_that_ends_while_rows_are_read_ahead_is_passing),
        cmocka_unit_test(a_streams_errors_leave_the_connection_usable),
        cmocka_unit_test(the_clock_is_read_before_the_querys_snapshot),
        cmocka_unit_test(a_backend_that_ends_amid_a_stream_is_passing),
        cmocka_unit_test(a_stop_wakes_a_query_and_cancels_it),
        cmocka_unit_test(a_stop_wakes_a_connect),
        cmocka_unit_test(every_type_is_described),
        cmocka_unit_test(a_description_does_not_run_the_query_and_fails_clearly),
        cmocka_unit_test(a_description_counts_the_parameters),
        cmocka_unit_test(a_description_without_memory_leaks_nothing),
        cmocka_unit_test(an_array_literal_reads_back_the_same),
        cmocka_unit_test(an_identifier_is_taken_literally),
    };
    if (!getenv("DATABASE_URL"))
        return cmocka_run_group_tests(skipped, NULL, NULL);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
