/* One event, one line, one write: stderr is a pipe here, or a terminal that the test made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "torture.h"

/* What body wrote to stderr, at most size - 1 bytes, as a string. A packet socket keeps writes
 * apart, so they can be counted. */
static void captured(void (*body)(void), char *out, size_t size, int *writes)
{
    int fds[2], saved = dup(STDERR_FILENO);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    body();
    dup2(saved, STDERR_FILENO);
    close(saved);
    size_t len = 0;
    ssize_t n;
    *writes = 0;
    while ((n = read(fds[0], out + len, size - 1 - len)) > 0) {
        len += (size_t)n;
        ++*writes;
    }
    out[len] = '\0';
    close(fds[0]);
}

static void assert_match(const char *text, const char *pattern)
{
    regex_t re;
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&re, text, 0, NULL, 0) != 0)
        fail_msg("'%s' does not match '%s'", text, pattern);
    regfree(&re);
}

#define TIME "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]"

static void set(enum log_level level, bool json, bool color)
{
    log_setup(&(struct log_options){.level = level, .json = json, .color = color});
}

static void say_four_things(void)
{
    log_error("number %d", 1);
    log_warn("number %d", 2);
    log_info("number %d", 3);
    log_debug("number %d", 4);
}

static void a_line_has_time_level_and_message(void **state)
{
    (void)state;
    char out[10000];
    int writes;
    set(LOG_DEBUG, false, false);
    captured(say_four_things, out, sizeof out, &writes);
    assert_match(out, "^" TIME "{3}Z error number 1\n" TIME "{3}Z warn  number 2\n" TIME
                      "{3}Z info  number 3\n" TIME "{3}Z debug number 4\n$");
    assert_int_equal(writes, 4);
}

static void what_is_less_urgent_is_not_printed(void **state)
{
    (void)state;
    char out[10000];
    int writes;
    set(LOG_WARN, false, false);
    captured(say_four_things, out, sizeof out, &writes);
    assert_int_equal(writes, 2);
    assert_true(log_enabled(LOG_ERROR) && log_enabled(LOG_WARN) && !log_enabled(LOG_INFO));
}

static void say_named(void)
{
    log_thread("w2");
    log_warn("document '%s' rejected", "7");
    log_thread("a name that is far too long");
    log_warn("x");
    log_thread(NULL);
    log_warn("y");
}

static void a_thread_has_its_name_in_its_lines(void **state)
{
    (void)state;
    char out[10000];
    int writes;
    set(LOG_INFO, false, false);
    captured(say_named, out, sizeof out, &writes);
    assert_match(out,
                 "Z warn  w2  document '7' rejected\n.*Z warn  a name that is  x\n.*Z warn  y\n$");
}

static void colors_are_around_the_level_alone(void **state)
{
    (void)state;
    char out[10000];
    int writes;
    set(LOG_WARN, false, true);
    captured(say_four_things, out, sizeof out, &writes);
    assert_match(out,
                 "Z \x1b\\[31merror\x1b\\[0m number 1\n.*Z \x1b\\[33mwarn \x1b\\[0m number 2\n$");
}

static void say_nasty(void)
{
    log_info("a\nb\r\tc\x1b[31m\x7f\xc2\x9bq é \xff\xc3| \xed\xa0\x80 \"\\ 😀");
}

static void whatever_is_in_it_it_is_one_line_of_utf8(void **state)
{
    (void)state;
    char out[10000];
    int writes;
    set(LOG_INFO, false, false);
    captured(say_nasty, out, sizeof out, &writes);
    assert_non_null(strstr(out, "Z info  a b  c [31m  q é ??| ??? \"\\ 😀\n"));
    set(LOG_INFO, true, false);
    captured(say_nasty, out, sizeof out, &writes);
    assert_non_null(strstr(out, "\"message\":\"a b  c [31m  q é ??| ??? \\\"\\\\ 😀\"}\n"));
}

static int shift;

static void say_long(void)
{
    char text[20000];
    for (size_t i = 0; i < sizeof text - 3; i += 3)
        memcpy(text + i, "€", 4);
    log_info("%.*s%s", shift, "..", text);
}

static void a_long_message_ends_in_an_ellipsis_after_a_whole_character(void **state)
{
    (void)state;
    char out[20000];
    int writes;
    set(LOG_INFO, false, false);
    for (shift = 0; shift < 3; shift++) {
        captured(say_long, out, sizeof out, &writes);
        size_t len = strlen(out);
        assert_true(writes == 1 && len > 3800 && len < 4096);
        assert_string_equal(out + len - strlen("€€…\n"), "€€…\n");
    }
}

static void say_long_quotes(void)
{
    char text[5000];
    memset(text, '"', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_thread("w1");
    log_info("%s", text);
    log_thread(NULL);
}

/* The fields of a JSON line, in order, one a line of out. */
static void parse(const char *line, char *out, size_t size)
{
    struct json_reader r;
    json_open(&r, line, strlen(line));
    assert_int_equal(json_next(&r), JSON_OBJECT);
    out[0] = '\0';
    while (json_next(&r) == JSON_KEY || r.token == JSON_STRING) {
        size_t len = strlen(out);
        snprintf(out + len, size - len, "%.*s%s", (int)r.len, r.text,
                 r.token == JSON_KEY ? "=" : "\n");
    }
    assert_true(json_end(&r));
    json_close(&r);
}

static void json_lines_are_json(void **state)
{
    (void)state;
    char out[20000], fields[20000];
    int writes;
    set(LOG_INFO, true, true);
    captured(say_long_quotes, out, sizeof out, &writes);
    assert_int_equal(writes, 1);
    parse(out, fields, sizeof fields);
    assert_match(fields, "^time=" TIME "{6}Z\nlevel=info\nworker=w1\nmessage=\"+…\n$");
}

static void say_with_fields(void)
{
    struct err e;
    err_set(&e, ERR_PASSING, "could not connect");
    log_warn_with(LOG_FIELDS(log_text("key", "a\"b\n\xff"), log_text("index", NULL),
                             log_int("documents", -9007199254740993),
                             log_real("seconds", 0.1 + 0.2), log_real("lag_seconds", HUGE_VAL),
                             LOG_ERR(&e), log_if(false, log_int("no", 1)),
                             log_if(true, log_int("yes", 1))),
                  "%s in %.1f s", e.text, 0.3);
    err_hint(&e, "start it");
    log_warn_with(LOG_FIELDS(LOG_ERR(&e)), "%s", e.text);
}

static void numbers_are_fields_and_a_hint_is_in_the_text_or_a_field(void **state)
{
    (void)state;
    char out[20000];
    int writes;
    set(LOG_INFO, true, false);
    captured(say_with_fields, out, sizeof out, &writes);
    assert_int_equal(writes, 2);
    assert_match(out, "\"message\":\"could not connect in 0.3 s\",\"key\":\"a\\\\\"b \\?\","
                      "\"documents\":-9007199254740993,\"seconds\":0.3,\"kind\":\"passing\","
                      "\"yes\":1}\n");
    assert_match(out, "\"message\":\"could not connect\",\"kind\":\"passing\",\"hint\":\"start "
                      "it\"}\n$");
    set(LOG_INFO, false, false);
    captured(say_with_fields, out, sizeof out, &writes);
    assert_match(out,
                 "warn  could not connect in 0.3 s\n.* could not connect \\(hint: start it\\)\n$");
}

static void say_much_with_many_fields(void)
{
    char text[5000];
    memset(text, '"', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct log_field fields[LOG_FIELDS_MAX + 2] = {0};
    for (int i = 0; i <= LOG_FIELDS_MAX; i++)
        fields[i] = log_text("a_name_of_some_thirty_characters", text);
    fields[LOG_FIELDS_MAX - 1] = log_int("documents", INT64_MIN);
    log_pipeline("a pipeline's name that is quite long, though not as long as it may");
    log_info_with(fields, "%s", text);
    log_pipeline(NULL);
}

/* Nothing that is cut, and nothing that is left out, makes it anything but JSON. */
static void a_line_that_is_cut_has_all_its_fields(void **state)
{
    (void)state;
    static char out[50000];
    int writes, keys = 0;
    set(LOG_INFO, true, false);
    captured(say_much_with_many_fields, out, sizeof out, &writes);
    assert_int_equal(writes, 1);
    struct json_reader r;
    json_open(&r, out, strlen(out));
    assert_int_equal(json_next(&r), JSON_OBJECT);
    while (json_next(&r) == JSON_KEY) {
        keys++;
        bool number = json_is(&r, "documents"), message = json_is(&r, "message");
        assert_int_equal(json_next(&r), number ? JSON_NUMBER : JSON_STRING);
        if (message)
            assert_in_range(r.len, 3799, 3803);
    }
    assert_true(json_end(&r));
    json_close(&r);
    assert_int_equal(keys, 4 + LOG_FIELDS_MAX);
}

static void say_fatal(void)
{
    struct err e;
    err_set(&e, ERR_FINAL, "cannot read state file '%s':\ndamaged", "st\xFF");
    log_fatal(&e);
    err_hint(&e, "etl-engine state reset SCRIPT starts over");
    log_fatal(&e);
}

static void the_last_error_is_for_people(void **state)
{
    (void)state;
    char out[10000], fields[10000];
    int writes;
    set(LOG_ERROR, false, false);
    captured(say_fatal, out, sizeof out, &writes);
    assert_string_equal(out, "etl-engine: error: cannot read state file 'st?': damaged\n"
                             "etl-engine: error: cannot read state file 'st?': damaged\n"
                             "hint: etl-engine state reset SCRIPT starts over\n");
    assert_int_equal(writes, 2);
    set(LOG_ERROR, true, false);
    captured(say_fatal, out, sizeof out, &writes);
    parse(strchr(out, '\n') + 1, fields, sizeof fields);
    assert_match(fields, "Z\nlevel=error\nmessage=cannot read state file 'st\\?': "
                         "damaged\nkind=final\nhint=etl-engine state reset "
                         "SCRIPT starts over\n$");
}

static void say_below(void)
{
    log_status("10 %");
    log_status("10 %"); /* the same again is not written */
    log_info("event");
    log_status("20 %\n");
    log_status(NULL);
    log_status(NULL);
    log_info("event");
}

static void the_status_line_stays_below_all_others(void **state)
{
    (void)state;
    char out[10000];
    int writes;
    set(LOG_INFO, false, false);
    captured(say_below, out, sizeof out, &writes);
    assert_match(out, "^\r\x1b\\[K10 %\r\x1b\\[K" TIME
                      "{3}Z info  event\n10 %\r\x1b\\[K20 % \r\x1b\\[K" TIME "{3}Z info  event\n$");
    assert_int_equal(writes, 5);
}

static void the_status_line_is_narrower_than_the_terminal(void **state)
{
    (void)state;
    int master = posix_openpt(O_RDWR | O_NOCTTY), saved = dup(STDERR_FILENO);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    char path[100];
    assert_int_equal(ptsname_r(master, path, sizeof path), 0);
    int slave = open(path, O_RDWR | O_NOCTTY);
    assert_int_equal(ioctl(slave, TIOCSWINSZ, &(struct winsize){.ws_row = 5, .ws_col = 6}), 0);
    dup2(slave, STDERR_FILENO);
    log_status("éééééééé");
    dup2(saved, STDERR_FILENO);
    log_status(NULL);
    char out[100] = "";
    assert_true(read(master, out, sizeof out - 1) > 0);
    assert_string_equal(out, "\r\x1b[Kééééé");
    close(saved);
    close(slave);
    close(master);
}

static void *say_much(void *arg)
{
    log_thread(arg);
    for (int i = 0; i < 20; i++) {
        log_info("%s line %d", (const char *)arg, i);
        log_status(arg);
    }
    return NULL;
}

static void say_in_threads(void)
{
    static char names[4][3] = {"w1", "w2", "w3", "w4"};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, say_much, names[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    log_status(NULL);
}

static void lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    static char out[100000];
    int writes, lines = 0;
    set(LOG_INFO, false, false);
    captured(say_in_threads, out, sizeof out, &writes);
    for (char *line = out, *end; (end = strchr(line, '\n')); line = end + 1, lines++) {
        *end = '\0';
        assert_match(line, TIME "{3}Z info  (w[1-4])  \\1 line [0-9]+$");
    }
    assert_int_equal(lines, 80);
}

static void say_without_memory(void)
{
    struct err e;
    allocations_left = 0;
    errno = EDOM;
    log_info_with(LOG_FIELDS(log_int("documents", 1), log_text("key", "k")), "still %s", "here");
    log_status("here");
    log_status(NULL);
    assert_int_equal(errno, EDOM);
    err_memory(&e);
    log_fatal(&e);
    allocations_left = -1;
}

static void it_works_when_memory_is_gone_and_keeps_errno(void **state)
{
    (void)state;
    char out[10000];
    int writes;
    for (int json = 0; json < 2; json++) {
        set(LOG_INFO, json, false);
        captured(say_without_memory, out, sizeof out, &writes);
        assert_non_null(strstr(out, "still here"));
        assert_non_null(strstr(out, "out of memory"));
    }
}

static void a_closed_stderr_is_borne(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        say_four_things();
        say_below();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_and_message),
        cmocka_unit_test(what_is_less_urgent_is_not_printed),
        cmocka_unit_test(a_thread_has_its_name_in_its_lines),
        cmocka_unit_test(colors_are_around_the_level_alone),
        cmocka_unit_test(whatever_is_in_it_it_is_one_line_of_utf8),
        cmocka_unit_test(a_long_message_ends_in_an_ellipsis_after_a_whole_character),
        cmocka_unit_test(json_lines_are_json),
        cmocka_unit_test(numbers_are_fields_and_a_hint_is_in_the_text_or_a_field),
        cmocka_unit_test(a_line_that_is_cut_has_all_its_fields),
        cmocka_unit_test(the_last_error_is_for_people),
        cmocka_unit_test(the_status_line_stays_below_all_others),
        cmocka_unit_test(the_status_line_is_narrower_than_the_terminal),
        cmocka_unit_test(lines_of_threads_do_not_mix),
        cmocka_unit_test(it_works_when_memory_is_gone_and_keeps_errno),
        cmocka_unit_test(a_closed_stderr_is_borne),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
