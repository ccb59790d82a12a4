/* A process that asks waits until the holder of the lock pauses; neither waits for one that has
 * ended. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "scratch.h"
#include "store/quiesce.h"
#include "store/state_file.h"

static char path[PATH_MAX];

static int make_folder(void **state)
{
    (void)state;
    if (scratch_make() != 0)
        return -1;
    snprintf(path, sizeof path, "%s/state", folder);
    return 0;
}

static void a_request_waits_until_the_holder_pauses(void **state)
{
    (void)state;
    struct err e;
    bool paused;
    int request = quiesce_ask(path, 0, &paused); /* nobody has the lock */
    assert_true(paused);
    quiesce_release(request);
    struct state_file *s = state_file_open(path, &e);
    assert_non_null(s);
    request = quiesce_ask(path, 0, &paused); /* the holder allows no requests */
    assert_true(paused);
    quiesce_release(request);
    quiesce_allow(s);
    assert_false(quiesce_is_asked(s));
    request = quiesce_ask(path, 0, &paused);
    assert_false(paused);
    assert_true(quiesce_is_asked(s));
    quiesce_release(request);
    assert_false(quiesce_is_asked(s));
    pid_t child = fork();
    if (child == 0) {
        request = quiesce_ask(path, 60000, &paused);
        usleep(50000);
        _exit(paused ? 0 : 1); /* the kernel releases the request */
    }
    while (!quiesce_is_asked(s))
        usleep(1000);
    assert_true(quiesce_pause(s));
    assert_false(quiesce_is_asked(s));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    request = quiesce_ask(path, 0, &paused);
    assert_false(paused);
    quiesce_release(request);
    state_file_close(s);
}

/* The lock belongs to the file, not to the link. */
static void a_holder_behind_a_link_is_asked_too(void **state)
{
    (void)state;
    char link_path[PATH_MAX + 8];
    struct err e;
    bool paused;
    snprintf(link_path, sizeof link_path, "%s.link", path);
    assert_int_equal(symlink(path, link_path), 0);
    struct state_file *s = state_file_open(link_path, &e);
    assert_non_null(s);
    quiesce_allow(s);
    int request = quiesce_ask(link_path, 0, &paused);
    assert_false(paused);
    assert_true(quiesce_is_asked(s));
    quiesce_release(request);
    state_file_close(s);
}

static void a_process_that_waits_is_seen_and_one_that_follows_too(void **state)
{
    (void)state;
    struct err e;
    assert_false(quiesce_is_followed(path));
    struct state_file *s = state_file_open(path, &e);
    assert_non_null(s);
    assert_false(quiesce_is_followed(path)); /* a run that ends soon */
    quiesce_allow(s);
    assert_true(quiesce_is_followed(path));
    assert_false(quiesce_is_awaited(s));
    int first = quiesce_await(path), second = quiesce_await(path);
    assert_true(quiesce_is_awaited(s));
    assert_false(quiesce_is_asked(s));
    quiesce_release(first);
    assert_true(quiesce_is_awaited(s));
    quiesce_release(second);
    assert_false(quiesce_is_awaited(s));
    state_file_close(s);
    assert_false(quiesce_is_followed(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_waits_until_the_holder_pauses),
        cmocka_unit_test(a_holder_behind_a_link_is_asked_too),
        cmocka_unit_test(a_process_that_waits_is_seen_and_one_that_follows_too),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
