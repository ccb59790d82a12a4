/* Two ends of a socket next to a state talk in lines; what is stale is replaced. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "scratch.h"
#include "store/request.h"
#include "store/request_link.h"

static char path[PATH_MAX], sock[PATH_MAX];

static int make_folder(void **state)
{
    (void)state;
    if (scratch_make() != 0)
        return -1;
    snprintf(path, sizeof path, "%s/state", folder);
    snprintf(sock, sizeof sock, "%s/state.sock", folder);
    return 0;
}

struct ends {
    int listener;
    struct request_link holder, asker;
};

static void open_ends(struct ends *x, const char *where)
{
    struct err e;
    bool ours = false;
    x->listener = request_link_listen(where, &e);
    assert_true(x->listener >= 0);
    assert_true(request_link_connect(where, &x->asker, &e));
    assert_true(request_link_accept(x->listener, &x->holder, &ours));
    assert_true(ours);
}

static void close_ends(struct ends *x, const char *where)
{
    request_link_close(&x->asker);
    request_link_close(&x->holder);
    close(x->listener);
    request_link_remove(where);
}

static void messages_cross_in_order_and_in_parts(void **state)
{
    (void)state;
    struct ends x;
    struct err e;
    bool got;
    struct request_message m = {0};
    open_ends(&x, path);
    assert_true(request_link_put(&x.asker, &(struct request_message){.type = REQUEST_MORE}));
    assert_true(request_link_put(&x.asker, &(struct request_message){.type = REQUEST_END}));
    request_link_flush(&x.asker);
    send(x.asker.fd, "{\"type\":", 8, 0);
    request_link_fill(&x.holder);
    assert_true(request_link_next(&x.holder, &m, &got, &e) && got && m.type == REQUEST_MORE);
    request_message_free(&m);
    assert_true(request_link_next(&x.holder, &m, &got, &e) && got && m.type == REQUEST_END);
    request_message_free(&m);
    assert_true(request_link_next(&x.holder, &m, &got, &e) && !got);
    send(x.asker.fd, "\"no more\"}\n", 11, 0);
    request_link_fill(&x.holder);
    assert_true(request_link_next(&x.holder, &m, &got, &e) && got && m.type == REQUEST_NO_MORE);
    request_message_free(&m);
    assert_false(x.holder.ended);
    request_link_close(&x.asker);
    request_link_fill(&x.holder);
    assert_true(x.holder.ended);
    close_ends(&x, path);
    assert_int_not_equal(access(sock, F_OK), 0);
}

static void a_line_without_an_end_is_refused(void **state)
{
    (void)state;
    struct ends x;
    struct err e;
    bool got = false, ok = true;
    static char part[64 << 10];
    struct request_message m = {0};
    memset(part, 'x', sizeof part);
    open_ends(&x, path);
    for (size_t sent = 0; ok && sent < 3 * (size_t)REQUEST_LINE_MAX; sent += sizeof part) {
        if (send(x.asker.fd, part, sizeof part, MSG_DONTWAIT) < 0)
            break;
        request_link_fill(&x.holder);
        ok = request_link_next(&x.holder, &m, &got, &e);
    }
    assert_false(ok || got);
    assert_true(x.holder.in.cap <= 2 * (size_t)REQUEST_LINE_MAX);
    close_ends(&x, path);
}

static void a_stale_socket_is_noticed_and_replaced(void **state)
{
    (void)state;
    struct ends x;
    struct err e;
    struct request_link l;
    assert_false(request_link_connect(path, &l, &e)); /* nobody was ever there */
    assert_int_equal(e.kind, ERR_NONE);
    close(request_link_listen(path, &e)); /* killed */
    assert_int_equal(access(sock, F_OK), 0);
    assert_false(request_link_connect(path, &l, &e));
    assert_int_equal(e.kind, ERR_NONE);
    open_ends(&x, path);
    struct stat info;
    assert_int_equal(stat(sock, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    close_ends(&x, path);
}

static void what_is_no_socket_stays(void **state)
{
    (void)state;
    struct err e;
    FILE *f = fopen(sock, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(request_link_listen(path, &e), -1);
    assert_non_null(strstr(e.text, "is in the way"));
    request_link_remove(path);
    assert_int_equal(access(sock, F_OK), 0);
    unlink(sock);
}

static void long_paths_and_names_have_a_socket(void **state)
{
    (void)state;
    struct ends x;
    char deep[PATH_MAX], name[200];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(deep, sizeof deep, "%s/%.150s", folder, name);
    assert_int_equal(mkdir(deep, 0700), 0);
    snprintf(deep, sizeof deep, "%s/%.150s/state", folder, name);
    open_ends(&x, deep);
    close_ends(&x, deep);
    snprintf(deep, sizeof deep, "%s/%s", folder, name);
    open_ends(&x, deep);
    close_ends(&x, deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_cross_in_order_and_in_parts),
        cmocka_unit_test(a_line_without_an_end_is_refused),
        cmocka_unit_test(a_stale_socket_is_noticed_and_replaced),
        cmocka_unit_test(what_is_no_socket_stays),
        cmocka_unit_test(long_paths_and_names_have_a_socket),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
