/* progress: a line a minute while something happens, and nothing while nothing does. Time is a
 * number here. */
#include "flow/progress.h"

#include "base/log.h"
#include "base/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static const int64_t SECOND = 1000000;
static int64_t now = 1000;

/* Standard error goes into a file meanwhile, and the manager's messages to a socket. */
static FILE *caught;
static int before, manager = -1;
static char text[100000], told[500], address[100];

static void begin(bool json)
{
    log_setup(&(struct log_options){.level = LOG_INFO, .json = json});
    caught = tmpfile();
    assert_non_null(caught);
    before = dup(2);
    dup2(fileno(caught), 2);
}

static void end(void)
{
    ssize_t len = pread(fileno(caught), text, sizeof text - 1, 0);
    text[len > 0 ? len : 0] = '\0';
    dup2(before, 2);
    close(before);
    fclose(caught);
}

static size_t lines(void)
{
    size_t n = 0;
    for (const char *p = text; *p; p++)
        n += *p == '\n';
    return n;
}

/* The latest message; how many there were. */
static int messages(void)
{
    int n = 0;
    ssize_t len;
    while ((len = recv(manager, told, sizeof told - 1, MSG_DONTWAIT)) > 0) {
        told[len] = '\0';
        n++;
    }
    return n;
}

static double lag;
static double the_lag(void *arg)
{
    (void)arg;
    return lag;
}

/* Shows the counts four times a second, for so many seconds. */
static void show_for(struct progress *p, const struct counts *c, int64_t seconds)
{
    for (int64_t until = now + seconds * SECOND; now < until; now += SECOND / 4)
        progress_show(p, c, now);
}

static void a_load_says_how_far_it_is_and_how_long_it_takes(void **state)
{
    (void)state;
    struct progress p;
    struct counts c = {0};
    begin(false);
    progress_start(&p, "movies", false);
    progress_begin(&p, "loading", true);
    p.expected = 3000000;
    progress_show(&p, &c, now);
    for (int second = 0; second < 60; second++) {
        c.indexed += 20000;
        show_for(&p, &c, 1);
    }
    progress_show(&p, &c, now);
    progress_end(&p);
    end();
    assert_int_equal(lines(), 1);
    assert_non_null(strstr(text, "info  movies: loading: 1,200,000 of about 3,000,000 documents "
                                 "(40 %), 19,999/s, 1 min 30 s left\n"));
}

static void what_nobody_has_counted_has_no_end(void **state)
{
    (void)state;
    struct progress p;
    begin(false);
    progress_start(&p, "movies", false);
    progress_begin(&p, "loading", true);
    progress_show(&p, &(struct counts){0}, now);
    show_for(&p, &(struct counts){.indexed = 1}, 61);
    p.expected = 2; /* fewer than there are */
    show_for(&p, &(struct counts){.indexed = 3000, .rejected = 1}, 61);
    end();
    assert_int_equal(lines(), 2);
    assert_non_null(strstr(text, "movies: loading: 1 document, 0/s\n"));
    assert_non_null(strstr(text, "movies: loading: 3,001 documents, 25/s\n"));
}

static void following_logs_each_minute_in_which_something_happens(void **state)
{
    (void)state;
    struct progress p;
    struct counts c = {.indexed = 1000, .rejected = 5}; /* of the load */
    begin(false);
    progress_start(&p, "movies", false);
    progress_show(&p, &c, now);
    p.lag = the_lag;
    progress_follow(&p);
    show_for(&p, &c, 3600); /* nothing */
    c.indexed += 300;
    c.deleted += 7;
    lag = 0.44;
    show_for(&p, &c, 3600);
    c.rejected++;
    c.unchanged += 12345; /* of a sweep */
    lag = -1;
    show_for(&p, &c, 3600);
    c.indexed--; /* a try that failed is taken back */
    show_for(&p, &c, 3600);
    end();
    assert_int_equal(lines(), 2);
    assert_non_null(strstr(text, "movies: following: 307 documents, lag 0.4 s\n"));
    assert_non_null(strstr(text, "movies: following: 1 document, 1 rejected, 12,345 unchanged\n"));
}

static void as_json_all_numbers_are_fields(void **state)
{
    (void)state;
    struct progress p;
    struct counts c = {.indexed = 300, .deleted = 7, .superseded = 2, .rejected = 1};
    begin(true);
    progress_start(&p, "movies", false);
    p.lag = the_lag;
    progress_follow(&p);
    progress_show(&p, &(struct counts){0}, now);
    lag = 1.25;
    now += 60 * SECOND;
    progress_show(&p, &c, now);
    end();
    assert_non_null(strstr(text, "\"message\":\"movies: following: 310 documents, 1 rejected, lag "
                                 "1.2 s\",\"doing\":\"following\",\"documents\":310,"
                                 "\"indexed\":300,\"deleted\":7,\"superseded\":2,\"unchanged\":0,"
                                 "\"rejected\":1,\"seconds\":60,\"documents_per_second\":5.166667,"
                                 "\"lag_seconds\":1.25}\n"));
}

static void a_long_run_that_does_something_else_counts_from_there(void **state)
{
    (void)state;
    struct progress p;
    struct counts c = {0};
    begin(false);
    progress_start(&p, "movies", false);
    progress_begin(&p, "loading", true);
    progress_show(&p, &c, now);
    c.indexed = 500;
    show_for(&p, &c, 10);
    progress_begin(&p, "sweeping", true);
    c.unchanged = 600;
    c.indexed = 501;
    show_for(&p, &c, 61);
    end();
    assert_int_equal(lines(), 1);
    assert_non_null(strstr(text, "movies: sweeping: 601 documents, 10/s\n"));
}

static void the_service_manager_is_told_the_same(void **state)
{
    (void)state;
    struct progress p;
    struct counts c = {0};
    setenv("NOTIFY_SOCKET", address, 1);
    begin(false);
    progress_start(&p, "movies", false);
    p.lag = the_lag;
    lag = 0.5;
    progress_show(&p, &c, now);
    progress_follow(&p);
    assert_int_equal(messages(), 1);
    assert_string_equal(told, "STATUS=movies: following");
    show_for(&p, &c, 30);
    assert_int_equal(messages(), 0); /* somebody else's stays: nothing has moved */
    int n = 0;
    for (int i = 0; i < 29; i++) {
        c.indexed++;
        show_for(&p, &c, 1);
        n += messages();
    }
    assert_in_range(n, 14, 16);
    show_for(&p, &c, 3);
    messages();
    assert_string_equal(told, "STATUS=movies: following: 29 documents, lag 0.5 s");
    end();
    unsetenv("NOTIFY_SOCKET");
    assert_non_null(strstr(text, "movies: following: 29 documents, lag 0.5 s\n"));
}

static void on_a_terminal_a_load_is_drawn_and_not_logged(void **state)
{
    (void)state;
    struct progress p;
    struct counts c = {0};
    begin(false);
    progress_start(&p, "movies", true);
    progress_begin(&p, "loading", true);
    for (int i = 0; i < 120; i++) {
        c.indexed += 10;
        show_for(&p, &c, 1);
    }
    progress_follow(&p);
    c.indexed++;
    progress_show(&p, &c, now);
    show_for(&p, &c, 61);
    progress_end(&p);
    end();
    assert_int_equal(lines(), 1);
    assert_non_null(strstr(text, "\r\x1b[Kmovies: loading: 1,200 documents, "));
    assert_non_null(strstr(text, "\r\x1b[K2026-") ? text
                                                  : strstr(text, "movies: following: 1 doc"));
}

static void quiet_is_quiet(void **state)
{
    (void)state;
    struct progress p;
    begin(false);
    log_setup(&(struct log_options){.level = LOG_WARN});
    progress_start(&p, "movies", false);
    progress_show(&p, &(struct counts){0}, now);
    show_for(&p, &(struct counts){.indexed = 5}, 200);
    end();
    assert_int_equal(lines(), 0);
}

int main(void)
{
    char folder[] = "/tmp/progress.XXXXXX";
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (!mkdtemp(folder))
        return 1;
    snprintf(address, sizeof address, "%s/notify", folder);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", address);
    manager = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (bind(manager, (struct sockaddr *)&at, sizeof at) < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_service_manager_is_told_the_same),
        cmocka_unit_test(a_load_says_how_far_it_is_and_how_long_it_takes),
        cmocka_unit_test(what_nobody_has_counted_has_no_end),
        cmocka_unit_test(following_logs_each_minute_in_which_something_happens),
        cmocka_unit_test(as_json_all_numbers_are_fields),
        cmocka_unit_test(a_long_run_that_does_something_else_counts_from_there),
        cmocka_unit_test(on_a_terminal_a_load_is_drawn_and_not_logged),
        cmocka_unit_test(quiet_is_quiet),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(at.sun_path);
    rmdir(folder);
    return failed;
}
