/* A state is replaced whole or not at all, its mtime is the watermark, and a damaged one is refused
 * and kept.
 */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"
#include "scratch.h"
#include "store/state.h"
#include "store/state_file.h"
#include "torture.h"

static char path[PATH_MAX];

static int make_folder(void **state)
{
    (void)state;
    log_setup(&(struct log_options){.level = LOG_ERROR});
    if (scratch_make() != 0)
        return -1;
    snprintf(path, sizeof path, "%s/deep/er/state", folder);
    return 0;
}

static void write_file(const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    close(fd);
}

static void set_mtime(int64_t us)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static int64_t mtime_us(void)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return (int64_t)info.st_mtim.tv_sec * 1000000 + info.st_mtim.tv_nsec / 1000;
}

static struct state_table tables[] = {
    {.name = (char *)"content.\"odd \\ table\"",
     .checkpoint = {.at = {.cursor = (char *)"2021-06-16 20:14:09.222016+00",
                           .key = (char *)"a\"b\\c\xC3\xA9",
                           .us = 1623874449222016,
                           .has_us = true}}},
    {.name = (char *)"content.genre",
     .checkpoint =
         {.at = {.cursor = (char *)"7"},
          .fanout = {.cursor = (char *)"9", .key = (char *)"g"},
          .fanout_hash = 0xfedcba9876543210,
          .seen = {.cursor = (char *)"8", .key = (char *)"s"},
          .window = {.from = {.cursor = (char *)"6"}, .xid = 4711},
          .candidate =
              {.from = {.cursor = (char *)"7", .key = (char *)"c"},
               .us = 1764000000000003,
               .fence = {.sessions = (char *)"3/17 p12 ", .xid = 4712, .us = 1764000000000004}},
          .rewind = {.from = {.cursor = (char *)"5"},
                     .xid = 4000,
                     .fence = {.sessions = (char *)"", .xid = 4001, .us = 1764000000000002}},
          .pass = {.cursor = (char *)"9", .key = (char *)"h"},
          .pass_xid = 4713,
          .journal = {.segment = 7, .offset = 4096},
          .after = (char *)"film"}},
};

static const struct state_data sample = {
    .phase = STATE_FOLLOWING,
    .pipeline = (char *)"movies",
    .index = (char *)"movies",
    .index_uuid = (char *)"Qz",
    .server = (char *)"77-1",
    .slot = (char *)"etl_movies",
    .sweep_again = true,
    .tables = tables,
    .n_tables = 2,
    .swept_us = 1764000000000001,
    .sweep_after = (char *)"swept",
    .documents = 999,
    .version = 1764000000000000,
};

static void save(const struct state_data *d)
{
    struct err e;
    struct state_file *s = state_file_open(path, &e);
    assert_non_null(s);
    assert_true(state_file_save(s, d, &e));
    state_file_close(s);
}

static void read_state(struct state_data *d)
{
    struct err e;
    bool ok = state_file_read(path, d, &e);
    if (!ok)
        print_error("%s\n", e.text);
    assert_true(ok);
}

static void what_was_saved_is_read_back(void **state)
{
    (void)state;
    struct state_data d;
    save(&sample);
    read_state(&d);
    assert_int_equal(d.phase, STATE_FOLLOWING);
    assert_string_equal(d.pipeline, sample.pipeline);
    assert_string_equal(d.index_uuid, sample.index_uuid);
    assert_int_equal(d.n_tables, 2);
    assert_string_equal(d.tables[0].name, tables[0].name);
    assert_string_equal(d.tables[0].checkpoint.at.cursor, tables[0].checkpoint.at.cursor);
    assert_string_equal(d.tables[0].checkpoint.at.key, tables[0].checkpoint.at.key);
    assert_true(d.tables[0].checkpoint.at.has_us &&
                d.tables[0].checkpoint.at.us == tables[0].checkpoint.at.us &&
                d.version == sample.version);
    assert_null(d.after);
    const struct checkpoint *fan = &d.tables[1].checkpoint;
    assert_string_equal(fan->fanout.cursor, "9");
    assert_string_equal(fan->fanout.key, "g");
    assert_string_equal(fan->after, "film");
    assert_true(fan->fanout_hash == tables[1].checkpoint.fanout_hash && !fan->at.key);
    assert_string_equal(fan->seen.key, "s");
    assert_true(fan->window.xid == 4711 && !fan->window.from.key && !fan->window.fence.sessions);
    assert_string_equal(fan->candidate.from.key, "c");
    assert_true(fan->candidate.us == 1764000000000003 &&
                fan->candidate.fence.us == 1764000000000004);
    assert_string_equal(fan->candidate.fence.sessions, "3/17 p12 ");
    assert_string_equal(fan->rewind.from.cursor, "5");
    assert_string_equal(fan->rewind.fence.sessions, "");
    assert_true(fan->rewind.xid == 4000 && fan->rewind.fence.xid == 4001);
    assert_string_equal(fan->pass.key, "h");
    assert_true(fan->pass_xid == 4713);
    assert_string_equal(d.server, "77-1");
    assert_string_equal(d.slot, "etl_movies");
    assert_true(d.sweep_again);
    assert_true(fan->journal.segment == 7 && fan->journal.offset == 4096);
    assert_true(d.swept_us == sample.swept_us);
    assert_string_equal(d.sweep_after, "swept");
    assert_int_equal(d.documents, 999);
    state_data_free(&d);
}

static void mtime_is_the_watermark_and_the_mode_is_private(void **state)
{
    (void)state;
    struct stat info;
    save(&sample);
    assert_true(mtime_us() == tables[0].checkpoint.at.us);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void during_the_first_load_mtime_is_1970(void **state)
{
    (void)state;
    struct state_data loading = sample, d;
    loading.phase = STATE_SNAPSHOT;
    loading.after = (char *)"k";
    save(&loading);
    assert_true(mtime_us() == 0);
    read_state(&d);
    assert_int_equal(d.phase, STATE_SNAPSHOT);
    assert_string_equal(d.after, "k");
    assert_true(d.tables[0].checkpoint.at.us ==
                tables[0].checkpoint.at.us); /* the mtime says nothing here */
    state_data_free(&d);
}

static void touching_it_earlier_goes_back(void **state)
{
    (void)state;
    struct state_data d;
    save(&sample);
    set_mtime(1500000000000001);
    read_state(&d);
    assert_string_equal(d.tables[0].checkpoint.at.cursor, "2017-07-14T02:40:00.000001Z");
    assert_null(d.tables[0].checkpoint.at.key);
    assert_true(d.tables[0].checkpoint.at.us == 1500000000000001);
    state_data_free(&d);
}

static void a_copy_with_a_later_time_changes_nothing(void **state)
{
    (void)state;
    struct state_data d;
    save(&sample);
    set_mtime(1900000000000000);
    read_state(&d);
    assert_string_equal(d.tables[0].checkpoint.at.cursor, tables[0].checkpoint.at.cursor);
    assert_string_equal(d.tables[0].checkpoint.at.key, tables[0].checkpoint.at.key);
    state_data_free(&d);
}

static void a_file_without_json_is_its_mtime(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "2021-06-16 20:14:09", "last run: fine"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct state_data d;
        save(&sample);
        write_file(texts[i], strlen(texts[i]));
        set_mtime(1600000000000000);
        read_state(&d);
        assert_true(d.mtime_only && d.phase == STATE_FOLLOWING && d.mtime.us == 1600000000000000);
        assert_null(d.mtime.key);
        state_data_free(&d);
    }
}

static void no_file_is_a_new_state(void **state)
{
    (void)state;
    struct state_data d;
    struct err e;
    struct state_file *s = state_file_open(path, &e);
    assert_true(state_file_remove(s, &e));
    assert_true(state_file_remove(s, &e)); /* twice is fine */
    state_file_close(s);
    read_state(&d);
    assert_int_equal(d.phase, STATE_NEW);
}

static size_t read_saved(char *text, size_t size)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, text, size);
    close(fd);
    assert_true(n > 0);
    return (size_t)n;
}

/* A state cut anywhere is refused, unless nothing is left of it: an empty file is what `touch`
 * makes. */
static void every_cut_is_refused_and_kept(void **state)
{
    (void)state;
    char whole[1000], left[1000];
    save(&sample);
    size_t len = read_saved(whole, sizeof whole);
    for (size_t cut = 1; cut < len - 1; cut++) { /* but for the final line break */
        struct state_data d;
        struct err e;
        write_file(whole, cut);
        assert_false(state_file_read(path, &d, &e));
        assert_int_equal(e.kind, ERR_FINAL);
        assert_non_null(strstr(e.text, "damaged at byte"));
        assert_int_equal(read_saved(left, sizeof left), cut);
    }
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"format\":1}",
        "{\"format\":1,\"pipeline\":\"m\",\"index_uuid\":\"u\",\"phase\":\"other\",\"tables\":{}}",
        "{\"format\":1,\"pipeline\":7,\"index_uuid\":\"u\",\"phase\":\"following\"}",
        "{\"format\":1,\"pipeline\":\"m\",\"index_uuid\":\"u\",\"phase\":\"following\"} x",
        "{\"format\":1.5,\"pipeline\":\"m\",\"index_uuid\":\"u\",\"phase\":\"following\"}",
        "\x01\x02{",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct state_data d;
        struct err e;
        save(&sample);
        write_file(texts[i], strlen(texts[i]));
        assert_false(state_file_read(path, &d, &e));
    }
}

static void an_older_format_goes_on_from_its_bounds(void **state)
{
    (void)state;
    struct state_data d;
    static const char text[] =
        "{\"format\":1,\"pipeline\":\"m\",\"index_uuid\":\"u\",\"phase\":\"following\",\"tables\":{"
        "\"a\":{\"cursor\":\"7\",\"key\":\"k\"},"
        "\"b\":{\"cursor\":\"9\",\"key\":\"l\",\"owed\":{\"cursor\":\"4\",\"key\":null,\"since\":"
        "17}}}}";
    write_file(text, sizeof text - 1);
    read_state(&d);
    assert_string_equal(d.tables[0].checkpoint.window.from.cursor, "7");
    assert_string_equal(d.tables[0].checkpoint.window.from.key, "k");
    assert_true(d.tables[0].checkpoint.window.xid == 0);
    assert_string_equal(d.tables[1].checkpoint.window.from.cursor,
                        "4"); /* what was owed lies lower */
    assert_string_equal(d.tables[1].checkpoint.at.cursor, "9");
    state_data_free(&d);
}

static void a_newer_format_is_told_apart_from_damage(void **state)
{
    (void)state;
    struct state_data d;
    struct err e;
    static const char text[] = "{\"format\":3,\"pipeline\":[]}";
    save(&sample);
    write_file(text, sizeof text - 1);
    assert_false(state_file_read(path, &d, &e));
    assert_non_null(strstr(e.text, "newer version"));
}

static void a_second_run_is_kept_out_and_told_the_pid(void **state)
{
    (void)state;
    struct err e;
    char pid[24];
    snprintf(pid, sizeof pid, "process %ld)", (long)getpid());
    struct state_file *first = state_file_open(path, &e);
    assert_non_null(first);
    assert_null(state_file_open(path, &e));
    assert_non_null(strstr(e.text, pid));
    state_file_close(first);
    struct state_file *again = state_file_open(path, &e);
    assert_non_null(again);
    state_file_close(again);
}

static void a_save_replaces_the_file_behind_a_link(void **state)
{
    (void)state;
    char link_path[PATH_MAX + 8];
    struct stat info;
    struct err e;
    struct state_data d;
    save(&sample);
    snprintf(link_path, sizeof link_path, "%s.link", path);
    assert_int_equal(symlink(path, link_path), 0);
    struct state_file *s = state_file_open(link_path, &e);
    struct state_data other = sample;
    other.version = 7;
    assert_true(state_file_save(s, &other, &e));
    state_file_close(s);
    assert_int_equal(lstat(link_path, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    read_state(&d);
    assert_true(d.version == 7);
    state_data_free(&d);
    unlink(link_path);
}

static void a_folder_is_no_state_file(void **state)
{
    (void)state;
    struct err e;
    assert_null(state_file_open(folder, &e));
    assert_non_null(strstr(e.text, "not a regular file"));
}

static bool save_and_read(void)
{
    struct err e = {0};
    struct state_data d = {0};
    struct state_file *s = state_file_open(path, &e);
    bool ok = s && state_file_save(s, &sample, &e) && state_file_read(path, &d, &e);
    if (!ok)
        assert_int_not_equal(e.kind, ERR_NONE);
    state_data_free(&d);
    state_file_close(s);
    return ok;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool done = false;
    save(&sample);
    for (int n = 0; !done; n++) {
        struct state_data d;
        allocations_left = n;
        done = save_and_read();
        allocations_left = -1;
        read_state(&d); /* whatever failed, a whole file is there */
        state_data_free(&d);
    }
}

static void a_copy_is_saved_as_the_same_file(void **state)
{
    (void)state;
    struct state_data copy;
    char first[1000], second[1000];
    save(&sample);
    size_t len = read_saved(first, sizeof first);
    assert_true(state_data_copy(&copy, &sample));
    save(&copy);
    assert_int_equal(read_saved(second, sizeof second), len);
    assert_memory_equal(first, second, len);
    state_data_free(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_saved_is_read_back),
        cmocka_unit_test(a_copy_is_saved_as_the_same_file),
        cmocka_unit_test(mtime_is_the_watermark_and_the_mode_is_private),
        cmocka_unit_test(during_the_first_load_mtime_is_1970),
        cmocka_unit_test(touching_it_earlier_goes_back),
        cmocka_unit_test(a_copy_with_a_later_time_changes_nothing),
        cmocka_unit_test(a_file_without_json_is_its_mtime),
        cmocka_unit_test(no_file_is_a_new_state),
        cmocka_unit_test(every_cut_is_refused_and_kept),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(an_older_format_goes_on_from_its_bounds),
        cmocka_unit_test(a_newer_format_is_told_apart_from_damage),
        cmocka_unit_test(a_second_run_is_kept_out_and_told_the_pid),
        cmocka_unit_test(a_save_replaces_the_file_behind_a_link),
        cmocka_unit_test(a_folder_is_no_state_file),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("state", tests, make_folder, remove_folder);
}
