/* What was appended is read in its order, also by another process after a crash that tore the end;
 * damage before the end is noticed; released segments are removed; memory does not grow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "store/journal.h"
#include "torture.h"

static char folder[64], prefix[96];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/journal.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(prefix, sizeof prefix, "%s/state.journal", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    struct err e = {0};
    bool ok = journal_remove(prefix, &e);
    return ok && rmdir(folder) == 0 ? 0 : -1;
}

static struct journal *reopen(struct journal *j, struct journal_position from)
{
    struct err e = {0};
    journal_close(j);
    j = journal_open(prefix, from, &e);
    if (!j)
        fail_msg("%s", e.text);
    return j;
}

static int segments(void)
{
    int n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        n += strncmp(entry->d_name, "state.journal.", 14) == 0;
    closedir(dir);
    return n;
}

/* Of number i: so many keys, each with i in it. */
static void append(struct journal *j, int i, size_t keys)
{
    char *block = malloc(keys * 12 + 1);
    size_t len = 0;
    struct err e = {0};
    assert_non_null(block);
    for (size_t k = 0; k < keys; k++)
        len += (size_t)snprintf(block + len, 12, "%010d", i) + 1;
    const struct journal_record r = {.xid = (uint64_t)i,
                                     .lsn = (uint64_t)i * 10,
                                     .commit_us = i,
                                     .kind = 2,
                                     .label = "shop.product",
                                     .keys = block,
                                     .keys_len = len,
                                     .n = keys};
    if (!journal_append(j, &r, &e))
        fail_msg("%s", e.text);
    free(block);
}

static struct journal_position expect(struct journal *j, int i, size_t keys)
{
    struct journal_record r;
    struct err e = {0};
    bool found;
    char key[12];
    if (!journal_next(j, &r, &found, &e))
        fail_msg("%s", e.text);
    assert_true(found);
    snprintf(key, sizeof key, "%010d", i);
    assert_int_equal(r.xid, i);
    assert_int_equal(r.lsn, i * 10);
    assert_int_equal(r.commit_us, i);
    assert_int_equal(r.kind, 2);
    assert_int_equal(r.n, keys);
    assert_string_equal(r.label, "shop.product");
    if (keys > 0)
        assert_string_equal(r.keys, key);
    return r.end;
}

static void expect_no_more(struct journal *j)
{
    struct journal_record r;
    struct err e = {0};
    bool found = true;
    if (!journal_next(j, &r, &found, &e))
        fail_msg("%s", e.text);
    assert_false(found);
}

static void records_come_in_their_order(void **state)
{
    (void)state;
    struct journal *j = reopen(NULL, (struct journal_position){0, 0});
    struct err e = {0};
    expect_no_more(j);
    append(j, 1, 3);
    append(j, 2, 0);
    expect(j, 1, 3);
    append(j, 3, 1);
    expect(j, 2, 0);
    struct journal_position end = expect(j, 3, 1);
    expect_no_more(j);
    assert_true(journal_bytes(j) > 0);
    assert_true(journal_release(j, end, &e));
    assert_int_equal(journal_bytes(j), 0);
    journal_close(j);
}

static void another_process_goes_on_where_the_state_says(void **state)
{
    (void)state;
    struct journal *j = reopen(NULL, (struct journal_position){0, 0});
    struct err e = {0};
    for (int i = 1; i <= 3; i++)
        append(j, i, 2);
    assert_true(journal_sync(j, &e));
    assert_int_equal(journal_lsn(j), 30);
    struct journal_position first = expect(j, 1, 2);
    j = reopen(j, first);
    assert_int_equal(journal_lsn(j), 30);
    expect(j, 2, 2);
    append(j, 4, 1);
    expect(j, 3, 2);
    struct journal_position last = expect(j, 4, 1);
    expect_no_more(j);
    j = reopen(j, last);
    expect_no_more(j);
    assert_int_equal(journal_bytes(j), 0);
    journal_close(j);
}

static void only_segment(char out[160])
{
    snprintf(out, 160, "%s.00000001", prefix);
}

static void a_torn_end_is_cut_off(void **state)
{
    (void)state;
    char path[160];
    struct stat info;
    struct journal_position zero = {0, 0};
    only_segment(path);
    for (off_t cut = 1;; cut++) {
        struct journal *j = reopen(NULL, zero);
        append(j, 1, 2);
        append(j, 2, 1);
        struct journal_position first = expect(j, 1, 2);
        journal_close(j);
        assert_int_equal(stat(path, &info), 0);
        if (cut >= info.st_size - (off_t)first.offset) {
            remove_folder(NULL);
            make_folder(NULL);
            return;
        }
        assert_int_equal(truncate(path, info.st_size - cut), 0);
        j = reopen(NULL, zero);
        expect(j, 1, 2);
        expect_no_more(j);
        append(j, 3, 1);
        expect(j, 3, 1);
        journal_close(j);
        struct err e = {0};
        assert_true(journal_remove(prefix, &e));
    }
}

static void damage_before_the_end_is_noticed(void **state)
{
    (void)state;
    char path[160];
    struct journal_position zero = {0, 0};
    struct journal *j = reopen(NULL, zero);
    struct journal_record r;
    struct err e = {0};
    bool found;
    only_segment(path);
    append(j, 1, 2);
    append(j, 2, 2);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "#", 1, 40), 1);
    close(fd);
    assert_false(journal_next(j, &r, &found, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_non_null(strstr(e.text, "damaged at byte 0"));
    journal_close(j);
}

static uint64_t waiting(struct journal_position from)
{
    struct err e = {0};
    uint64_t bytes;
    if (!journal_waiting(prefix, from, &bytes, &e))
        fail_msg("%s", e.text);
    return bytes;
}

static void what_waits_is_told_without_opening_it(void **state)
{
    (void)state;
    struct journal_position zero = {0, 0};
    assert_int_equal(waiting(zero), 0);
    struct journal *j = reopen(NULL, zero);
    append(j, 1, 1);
    uint64_t one = waiting(zero);
    assert_int_equal(one, journal_bytes(j));
    for (int i = 2; segments() < 2; i++)
        append(j, i, 50000);
    assert_int_equal(waiting(zero), journal_bytes(j));
    struct journal_position end = journal_end(j);
    assert_int_equal(waiting((struct journal_position){1, one}), waiting(zero) - one);
    assert_int_equal(waiting((struct journal_position){end.segment, 0}), end.offset);
    assert_int_equal(waiting(end), 0);
    assert_int_equal(waiting((struct journal_position){end.segment + 1, 5}), 0);
    journal_close(j);
}

static void released_segments_are_removed(void **state)
{
    (void)state;
    struct journal *j = reopen(NULL, (struct journal_position){0, 0});
    struct journal_position end = {0, 0};
    struct err e = {0};
    enum { KEYS = 50000, RECORDS = 100 }; /* some 55 MB */
    for (int i = 1; i <= RECORDS; i++)
        append(j, i, KEYS);
    assert_int_equal(segments(), 4);
    uint64_t all = journal_bytes(j);
    assert_true(all > 50 << 20);
    for (int i = 1; i <= RECORDS / 2; i++)
        end = expect(j, i, KEYS);
    assert_true(journal_release(j, end, &e));
    assert_int_equal(segments(), 3);
    assert_true(journal_bytes(j) < all * 51 / 100);
    j = reopen(j, end);
    assert_true(journal_bytes(j) < all * 51 / 100);
    for (int i = RECORDS / 2 + 1; i <= RECORDS; i++)
        end = expect(j, i, KEYS);
    expect_no_more(j);
    assert_true(journal_release(j, end, &e));
    assert_int_equal(journal_bytes(j), 0);
    assert_int_equal(segments(), 1);
    journal_close(j);
}

static void a_lost_position_reads_all_that_is_left(void **state)
{
    (void)state;
    struct journal *j = reopen(NULL, (struct journal_position){0, 0});
    append(j, 1, 1);
    j = reopen(j, (struct journal_position){0, 0});
    expect(j, 1, 1);
    /* of a later segment, as after a removed journal: nothing comes twice under one position */
    j = reopen(j, (struct journal_position){7, 100});
    expect_no_more(j);
    append(j, 2, 1);
    assert_int_equal(expect(j, 2, 1).segment, 8);
    journal_close(j);
}

static void files_of_others_are_left_alone(void **state)
{
    (void)state;
    char path[160];
    struct err e = {0};
    snprintf(path, sizeof path, "%s.00000001x", prefix);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    struct journal *j = reopen(NULL, (struct journal_position){5, 0});
    journal_close(j);
    assert_true(journal_remove(prefix, &e));
    assert_int_equal(unlink(path), 0);
}

static void one_process_at_a_time_has_it(void **state)
{
    (void)state;
    const char *const why = "cannot use journal '";
    struct err e = {0};
    struct journal *j = reopen(NULL, (struct journal_position){0, 0});
    append(j, 1, 1);
    assert_null(journal_open(prefix, (struct journal_position){0, 0}, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_memory_equal(e.text, why, strlen(why));
    assert_false(journal_remove(prefix, &e));
    expect(j, 1, 1); /* nothing has happened to it */
    journal_close(j);
    assert_true(journal_remove(prefix, &e));
}

static void *append_many(void *arg)
{
    for (int i = 1; i <= 20000; i++)
        append(arg, i, 3);
    return NULL;
}

static void one_thread_reads_while_another_appends(void **state)
{
    (void)state;
    struct journal *j = reopen(NULL, (struct journal_position){0, 0});
    struct err e = {0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, append_many, j), 0);
    for (int next = 1; next <= 20000;) {
        struct journal_record r;
        bool found;
        if (!journal_next(j, &r, &found, &e))
            fail_msg("%s", e.text);
        if (!found)
            continue;
        assert_int_equal(r.xid, next++);
        assert_true(journal_release(j, r.end, &e));
    }
    pthread_join(thread, NULL);
    assert_int_equal(journal_bytes(j), 0);
    journal_close(j);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct journal_position zero = {0, 0};
    struct journal *j = reopen(NULL, zero);
    append(j, 1, 1);
    journal_close(j);
    for (int n = 0;; n++) {
        struct journal_record r = {.label = "t", .keys = "k", .keys_len = 2, .n = 1, .lsn = 5};
        struct err e = {0};
        bool found = false;
        allocations_left = n;
        j = journal_open(prefix, zero, &e);
        bool done = j && journal_append(j, &r, &e) && journal_next(j, &r, &found, &e);
        if (done)
            done = journal_release(j, r.end, &e);
        allocations_left = -1;
        journal_close(j);
        if (done)
            return;
        assert_int_equal(e.kind, ERR_FINAL);
    }
}

int main(void)
{
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(records_come_in_their_order),
        WITH_FOLDER(another_process_goes_on_where_the_state_says),
        WITH_FOLDER(a_torn_end_is_cut_off),
        WITH_FOLDER(damage_before_the_end_is_noticed),
        WITH_FOLDER(what_waits_is_told_without_opening_it),
        WITH_FOLDER(released_segments_are_removed),
        WITH_FOLDER(a_lost_position_reads_all_that_is_left),
        WITH_FOLDER(files_of_others_are_left_alone),
        WITH_FOLDER(one_process_at_a_time_has_it),
        WITH_FOLDER(one_thread_reads_while_another_appends),
        WITH_FOLDER(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
