/* What was added and synced is read back, whatever is in it and wherever the file is cut; what was
 * cleared is gone; a disk that is full costs nothing but time. */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "scratch.h"
#include "store/deadletter.h"
#include "torture.h"

static char path[PATH_MAX];
static char content[1 << 20];
static size_t content_len;

static int make_folder(void **state)
{
    (void)state;
    log_setup(&(struct log_options){.level = LOG_ERROR});
    if (scratch_make() != 0)
        return -1;
    snprintf(path, sizeof path, "%s/deep/dead-letters", folder);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static struct deadletters *open_letters(void)
{
    struct err e;
    struct deadletters *d = deadletters_open(path, "movies", &e);
    if (!d)
        print_error("%s\n", e.text);
    assert_non_null(d);
    return d;
}

static void add(struct deadletters *d, const char *key, const char *reason)
{
    struct err e;
    assert_true(deadletters_add(d, key, reason, 400, &e));
}

static void sync_letters(struct deadletters *d)
{
    struct err e;
    bool ok = deadletters_sync(d, &e);
    if (!ok)
        print_error("%s\n", e.text);
    assert_true(ok);
}

static bool exists(void)
{
    return access(path, F_OK) == 0;
}

static void write_file(const char *text, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    close(fd);
}

static const char *read_file(void)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, content, sizeof content - 1);
    close(fd);
    assert_true(n >= 0);
    content_len = (size_t)n;
    content[n] = '\0';
    return content;
}

static size_t lines(void)
{
    size_t n = 0;
    for (const char *p = read_file(); (p = strchr(p, '\n')); p++)
        n++;
    return n;
}

static ino_t inode(void)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_ino;
}

/* The keys, each behind a space. */
static const char *keys(const struct deadletters *d)
{
    static char text[1000];
    const char *key;
    int n = 0;
    text[0] = '\0';
    for (size_t at = 0; deadletters_next(d, &at, &key);)
        n += snprintf(text + n, sizeof text - (size_t)n, " %s", key);
    return text;
}

static void assert_stored(const char *expected)
{
    struct deadletters *d = open_letters();
    assert_string_equal(keys(d), expected);
    deadletters_close(d);
}

static void fill(const char *list)
{
    struct deadletters *d = open_letters();
    for (char key[] = "?"; (key[0] = *list); list++)
        add(d, key, "reason");
    sync_letters(d);
    deadletters_close(d);
}

static bool has(const struct deadletters *d, const char *wanted)
{
    const char *key;
    for (size_t at = 0; deadletters_next(d, &at, &key);)
        if (strcmp(key, wanted) == 0)
            return true;
    return false;
}

static void what_was_synced_is_read_back(void **state)
{
    (void)state;
    struct deadletters *d = open_letters();
    assert_false(exists());
    assert_string_equal(deadletters_path(d), path);
    sync_letters(d); /* nothing to do */
    assert_false(exists());
    add(d, "a", "mapper_parsing_exception: x");
    assert_true(has(d, "a") && !has(d, "b"));
    sync_letters(d);
    add(d, "b", "other");
    assert_int_equal(lines(), 1);
    sync_letters(d);
    assert_int_equal(lines(), 2);
    add(d, "c", "never synced");
    deadletters_close(d);
    deadletters_close(NULL);
    assert_stored(" a b");
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void a_line_has_all_that_the_header_names(void **state)
{
    (void)state;
    static const char before[] = "{\"key\":\"a\",\"reason\":\"reason\",\"status\":400,\"time\":\"2",
                      after[] = "Z\",\"pipeline\":\"movies\"}\n";
    fill("a");
    assert_memory_equal(read_file(), before, sizeof before - 1);
    assert_string_equal(content + content_len - (sizeof after - 1), after);
}

static void appending_keeps_the_file_and_clearing_replaces_it(void **state)
{
    (void)state;
    struct deadletters *d = open_letters();
    add(d, "a", "r");
    sync_letters(d);
    ino_t first = inode();
    add(d, "b", "r");
    add(d, "c", "r");
    sync_letters(d);
    assert_true(inode() == first);
    deadletters_clear(d, "x"); /* not being there is fine */
    sync_letters(d);
    assert_true(inode() == first);
    deadletters_clear(d, "b");
    add(d, "d", "r");
    sync_letters(d);
    assert_true(inode() != first);
    assert_string_equal(keys(d), " a c d");
    deadletters_close(d);
    assert_stored(" a c d");
}

static void the_last_one_cleared_takes_the_file_along(void **state)
{
    (void)state;
    fill("ab");
    struct deadletters *d = open_letters();
    deadletters_clear(d, "a");
    deadletters_clear(d, "b");
    assert_int_equal(deadletters_count(d), 0);
    sync_letters(d);
    assert_false(exists());
    add(d, "c", "r");
    deadletters_clear(d, "c"); /* before it was ever written */
    sync_letters(d);
    assert_false(exists());
    add(d, "d", "r");
    sync_letters(d);
    deadletters_close(d);
    assert_stored(" d");
}

static void a_key_rejected_again_replaces_its_entry(void **state)
{
    (void)state;
    fill("abc");
    struct deadletters *d = open_letters();
    add(d, "a", "second");
    add(d, "d", "first");
    add(d, "d", "second");
    sync_letters(d);
    assert_int_equal(lines(), 4);
    assert_null(strstr(content, "first"));
    assert_non_null(strstr(content, "\"key\":\"a\",\"reason\":\"second\""));
    deadletters_close(d);
    assert_stored(" b c a d");
}

static void clearing_during_a_walk_is_fine(void **state)
{
    (void)state;
    fill("abcdef");
    struct deadletters *d = open_letters();
    const char *key;
    for (size_t at = 0; deadletters_next(d, &at, &key);)
        if (*key % 2)
            deadletters_clear(d, key);
    sync_letters(d);
    deadletters_close(d);
    assert_stored(" b d f");
}

static void a_large_file_is_read_and_replaced(void **state)
{
    (void)state;
    enum { ENTRIES = 3000 }; /* some times what is read and written at once */
    struct deadletters *d = open_letters();
    char key[24], reason[120];
    memset(reason, 'r', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    for (int i = 0; i < ENTRIES; i++) {
        snprintf(key, sizeof key, "%d", i);
        add(d, key, reason);
        if (i % 1000 == 0)
            sync_letters(d);
    }
    deadletters_clear(d, "7");
    sync_letters(d);
    deadletters_close(d);
    assert_int_equal(lines(), ENTRIES - 1);
    d = open_letters();
    assert_int_equal(deadletters_count(d), ENTRIES - 1);
    assert_true(has(d, "2999") && !has(d, "7"));
    deadletters_close(d);
}

/* ---- what is in a key, a reason ---- */

static void read_first(char *key, char *reason, size_t size)
{
    struct json_reader r;
    const char *end = strchr(read_file(), '\n');
    json_open(&r, content, (size_t)(end - content));
    json_next(&r);
    while (json_next(&r) == JSON_KEY) {
        char *to = json_is(&r, "key") ? key : json_is(&r, "reason") ? reason : NULL;
        json_next(&r);
        if (to)
            snprintf(to, size, "%.*s", (int)r.len, r.text);
    }
    assert_true(json_end(&r));
    json_close(&r);
}

static void every_character_comes_back(void **state)
{
    (void)state;
    char text[3000], key[6000], reason[6000];
    for (unsigned from = 1; from < 0x110000; from += from < 0x3000 ? 500 : 7919) {
        size_t n = 0;
        for (unsigned c = from; c < from + 500 && c < 0x110000; c++) {
            if (c >= 0xD800 && c < 0xE000)
                continue;
            if (c >= 0x10000)
                text[n++] = (char)(0xF0 | c >> 18);
            if (c >= 0x800)
                text[n++] = (char)(c >= 0x10000 ? 0x80 | (c >> 12 & 0x3F) : 0xE0 | c >> 12);
            if (c >= 0x800)
                text[n++] = (char)(0x80 | (c >> 6 & 0x3F));
            else if (c >= 0x80)
                text[n++] = (char)(0xC0 | c >> 6);
            text[n++] = (char)(c < 0x80 ? c : 0x80 | (c & 0x3F));
        }
        text[n] = '\0';
        struct deadletters *d = open_letters();
        add(d, text, text);
        sync_letters(d);
        deadletters_close(d);
        assert_int_equal(lines(), 1);
        read_first(key, reason, sizeof key);
        assert_string_equal(key, text);
        assert_string_equal(reason, text);
        d = open_letters();
        assert_true(has(d, text));
        deadletters_clear(d, text);
        sync_letters(d);
        deadletters_close(d);
    }
}

static void what_is_no_text_becomes_question_marks(void **state)
{
    (void)state;
    char key[100], reason[100];
    struct deadletters *d = open_letters();
    add(d, "k\xFF", "a\xC3(\xE2\x82 end\xF0\x9F\x98");
    sync_letters(d);
    deadletters_close(d);
    read_first(key, reason, sizeof key);
    assert_string_equal(key, "k?");
    assert_string_equal(reason, "a?(?? end???");
    assert_stored(" k?");
}

static void a_long_reason_is_cut_between_characters(void **state)
{
    (void)state;
    static char text[9002], key[10], reason[9002];
    for (size_t i = 1; i < sizeof text - 1; i += 2)
        memcpy(text + i, "\xC3\xA9", 2);
    text[0] = 'x';
    struct deadletters *d = open_letters();
    add(d, "k", text);
    sync_letters(d);
    deadletters_close(d);
    read_first(key, reason, sizeof reason);
    assert_int_equal(strlen(reason), 3999 + 3);
    assert_memory_equal(reason, text, 3999);
    assert_string_equal(reason + 3999, "…");
}

static void a_pipeline_of_any_name_knows_its_own(void **state)
{
    (void)state;
    struct err e;
    for (int i = 0; i < 2; i++) {
        struct deadletters *d = deadletters_open(path, "m\"\\\n\xFF", &e);
        assert_non_null(d);
        assert_int_equal(deadletters_count(d), i);
        add(d, "k", "r");
        sync_letters(d);
        deadletters_close(d);
    }
}

/* ---- damage ---- */

/* Cut anywhere, the whole lines are there, and what is added next makes the file whole again. */
static void every_cut_leaves_the_whole_lines(void **state)
{
    (void)state;
    static char whole[2000];
    static const char *const expected[] = {"", " a", " a b", " a b c"}, *const with_x[] = {
                                                                            " x", " a x", " a b x",
                                                                            " a b c x"};
    fill("abc");
    read_file();
    memcpy(whole, content, content_len);
    size_t len = content_len, before = 0;
    for (size_t cut = 0; cut <= len; cut++) {
        if (cut > 0 && whole[cut - 1] == '\n')
            before++;
        bool unended = cut < len && whole[cut] == '\n'; /* a whole line, but for its end */
        size_t n = before + unended;
        write_file(whole, cut);
        struct deadletters *d = open_letters();
        assert_string_equal(keys(d), expected[n]);
        assert_int_equal(read_file() ? content_len : 0, cut); /* opening it changes nothing */
        add(d, "x", "r");
        sync_letters(d);
        deadletters_close(d);
        assert_stored(with_x[n]);
        assert_int_equal(lines(), n + 1);
    }
}

static void a_cut_line_goes_with_the_next_sync(void **state)
{
    (void)state;
    static const char cut[] = "{\"key\":\"a\"}\n{\"key\":\"b";
    fill("a");
    write_file(cut, sizeof cut - 1);
    struct deadletters *d = open_letters();
    sync_letters(d);
    deadletters_close(d);
    assert_string_equal(read_file(), "{\"key\":\"a\"}\n");
    write_file("{\"key", 5);
    d = open_letters();
    sync_letters(d);
    deadletters_close(d);
    assert_false(exists());
}

static void damage_elsewhere_is_refused_with_its_number(void **state)
{
    (void)state;
    static const char *const bad[] = {"{",
                                      "{}",
                                      "[]",
                                      "7",
                                      "null",
                                      "\"a\"",
                                      " ",
                                      "{\"key\":7}",
                                      "{\"key\":null}",
                                      "{\"key\":\"a\\u0000b\"}",
                                      "{\"key\":\"a\"} {\"key\":\"b\"}",
                                      "{\"key\":\"a\",\"reason\":}",
                                      "{\"key\":\"a\",\"pipeline\":7}",
                                      "{\"key\":\"\xFF\"}",
                                      "{\"kex\":\"a\"}"};
    fill("a"); /* makes the folder */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e;
        char text[200];
        int n = snprintf(text, sizeof text, "{\"key\":\"a\"}\n\n%s\n{\"key\":\"z\"}\n", bad[i]);
        write_file(text, (size_t)n);
        assert_null(deadletters_open(path, "movies", &e));
        assert_int_equal(e.kind, ERR_FINAL);
        assert_non_null(strstr(e.text, "line 3 is damaged"));
        assert_string_equal(read_file(), text);
    }
}

static void zeros_at_the_end_are_a_cut_line(void **state)
{
    (void)state;
    static const char zeros[] = "{\"key\":\"a\"}\n\0\0\0\0\0\0\0";
    fill("a");
    write_file(zeros, sizeof zeros - 1);
    assert_stored(" a");
}

static void any_byte_may_be_wrong(void **state)
{
    (void)state;
    static char whole[1000];
    fill("ab");
    read_file();
    memcpy(whole, content, content_len);
    size_t len = content_len;
    for (size_t i = 0; i < len; i++)
        for (int c = 0; c < 256; c += i % 7 ? 17 : 1) {
            char was = whole[i];
            whole[i] = (char)c;
            write_file(whole, len);
            struct err e = {0};
            struct deadletters *d = deadletters_open(path, "movies", &e);
            assert_true(d ? deadletters_count(d) <= 2 : e.kind == ERR_FINAL);
            deadletters_close(d);
            whole[i] = was;
        }
}

static void the_last_line_of_a_key_counts(void **state)
{
    (void)state;
    static const char twice[] =
        "{\"key\":\"a\",\"status\":1}\n{\"status\":2,\"key\":\"b\",\"more\":[{}]}\n"
        "{\"key\":\"a\",\"status\":3}\n";
    fill("a");
    write_file(twice, sizeof twice - 1);
    struct deadletters *d = open_letters();
    sync_letters(d);
    deadletters_close(d);
    assert_string_equal(
        read_file(), "{\"status\":2,\"key\":\"b\",\"more\":[{}]}\n{\"key\":\"a\",\"status\":3}\n");
}

/* ---- others ---- */

static void another_pipeline_is_kept_out(void **state)
{
    (void)state;
    struct err e;
    fill("a");
    assert_null(deadletters_open(path, "persons", &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_non_null(strstr(e.text, "line 1 belongs to pipeline 'movies'"));
    assert_stored(" a");
}

static void what_another_process_wrote_is_not_undone(void **state)
{
    (void)state;
    struct err e;
    struct deadletters *mine = open_letters(), *other = open_letters();
    add(mine, "a", "r");
    sync_letters(mine);
    add(other, "b", "r");
    assert_false(deadletters_sync(other, &e));
    assert_int_equal(e.kind, ERR_FINAL);
    deadletters_close(other);
    other = open_letters();
    add(other, "c", "r");
    sync_letters(other);
    deadletters_clear(mine, "a");
    assert_false(deadletters_sync(mine, &e));
    deadletters_close(mine);
    deadletters_close(other);
    assert_stored(" a c");
}

static void a_file_that_was_removed_is_written_anew(void **state)
{
    (void)state;
    struct deadletters *d = open_letters();
    add(d, "a", "r");
    sync_letters(d);
    unlink(path);
    add(d, "b", "r");
    sync_letters(d);
    deadletters_close(d);
    assert_stored(" a b");
}

static void the_file_behind_a_link_is_the_one(void **state)
{
    (void)state;
    char real[PATH_MAX + 8];
    struct stat info;
    fill("a");
    snprintf(real, sizeof real, "%s.real", path);
    assert_int_equal(rename(path, real), 0);
    assert_int_equal(symlink(real, path), 0);
    struct deadletters *d = open_letters();
    deadletters_clear(d, "a");
    add(d, "b", "r");
    sync_letters(d);
    deadletters_close(d);
    assert_int_equal(lstat(path, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_stored(" b");
    unlink(real);
}

static void what_cannot_be_written_is_known_at_once(void **state)
{
    (void)state;
    struct err e;
    assert_null(deadletters_open(folder, "movies", &e));
    assert_non_null(strstr(e.text, "not a regular file"));
    assert_null(deadletters_open("/dev/null/letters", "movies", &e));
    assert_int_equal(e.kind, ERR_FINAL);
    assert_null(deadletters_open("", "movies", &e));
}

/* ---- a full disk ---- */

static void fill_disk(const char *disk, bool full)
{
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/filler", disk);
    unlink(name);
    if (!full)
        return;
    int fd = open(name, O_WRONLY | O_CREAT, 0600);
    static const char page[4096];
    while (write(fd, page, sizeof page) > 0)
        ;
    close(fd);
}

/* Full while a few lines were to be appended, then while the file was to be replaced. */
static void meet_a_full_disk(const char *disk)
{
    struct err e;
    char key[24], reason[200];
    memset(reason, 'r', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    struct deadletters *d = open_letters();
    add(d, "first", "r");
    sync_letters(d);
    for (unsigned i = 0; i < 60; i++) { /* more than the rest of a page */
        snprintf(key, sizeof key, "%u", i);
        add(d, key, reason);
    }
    for (int i = 0; i < 3; i++) {
        fill_disk(disk, true);
        assert_false(deadletters_sync(d, &e));
        assert_int_equal(e.kind, ERR_PASSING);
        assert_non_null(strstr(e.text, "dead letters not saved: could not write"));
        assert_int_equal(lines(), 1);
        assert_stored(" first");
    }
    deadletters_clear(d, "first");
    assert_false(deadletters_sync(d, &e));
    assert_int_equal(e.kind, ERR_PASSING);
    assert_stored(" first");
    fill_disk(disk, false);
    add(d, "last", "r");
    sync_letters(d);
    assert_int_equal(deadletters_count(d), 61);
    assert_int_equal(lines(), 61);
    deadletters_clear(d, "0");
    fill_disk(disk, true);
    assert_false(deadletters_sync(d, &e));
    fill_disk(disk, false);
    sync_letters(d);
    assert_int_equal(lines(), 60);
    deadletters_close(d);
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    char disk[] = "/tmp/test_deadletter_full_XXXXXX", usual[PATH_MAX];
    if (!mkdtemp(disk))
        fail();
    if (mount("tmpfs", disk, "tmpfs", 0, "size=256k,mode=700") != 0) {
        rmdir(disk);
        skip(); /* not root */
    }
    memcpy(usual, path, sizeof path);
    snprintf(path, sizeof path, "%s/dead-letters", disk);
    meet_a_full_disk(disk);
    memcpy(path, usual, sizeof path);
    umount2(disk, MNT_DETACH);
    rmdir(disk);
}

/* ---- memory ---- */

static bool use_all(bool *saved)
{
    struct err e = {0};
    struct deadletters *d = deadletters_open(path, "movies", &e);
    bool ok = d && deadletters_add(d, "c", "re\"ason", 0, &e) && deadletters_sync(d, &e) &&
              deadletters_add(d, "a", "again", 0, &e);
    if (ok)
        deadletters_clear(d, "b");
    ok = ok && deadletters_add(d, "c", "again", 0, &e);
    *saved = d && deadletters_sync(d, &e); /* the more so if an addition failed */
    ok = ok && *saved;
    if (!ok)
        assert_int_not_equal(e.kind, ERR_NONE);
    deadletters_close(d);
    return ok;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char before[] = "{\"key\":\"\\u0061\"}\n{\"key\":\"b\",\"pipeline\":\"movies\"}\n";
    bool done = false, saved;
    fill("a");
    for (int n = 0; !done; n++) {
        write_file(before, sizeof before - 1);
        allocations_left = n;
        done = use_all(&saved);
        allocations_left = -1;
        /* whatever failed, what stood in the file is not lost */
        struct deadletters *d = open_letters();
        assert_true(has(d, "a"));
        assert_true(has(d, "b") || saved);
        deadletters_close(d);
    }
    assert_stored(" a c");
}

/* Some allocations fail, and those after them succeed: what is missing must not be passed by a
 * state, nor be written over. */
static void no_sync_succeeds_after_an_addition_that_did_not(void **state)
{
    (void)state;
    static const char *const keys_added[] = {"a", "new"};
    for (int i = 0; i < 2; i++) {
        bool done = false;
        for (int n = 0; !done; n++) {
            remove_file(NULL);
            fill("ab");
            struct deadletters *d = open_letters();
            struct err e;
            allocations_left = n;
            done = deadletters_add(d, keys_added[i], "r", 0, &e);
            allocations_left = -1;
            deadletters_clear(d, "b");
            assert_int_equal(deadletters_sync(d, &e), done);
            assert_true(done || e.kind == ERR_FINAL);
            deadletters_close(d);
            assert_stored(!done ? " a b" : i ? " a new" : " a");
        }
    }
}

static void they_move_to_another_file(void **state)
{
    (void)state;
    struct err e;
    char *to = deadletters_default_path(path);
    struct deadletters *d = open_letters();
    assert_false(deadletters_exist(to));
    add(d, "a", "r");
    sync_letters(d);
    assert_true(deadletters_move(d, to, &e));
    deadletters_close(d);
    assert_false(exists());
    assert_true(deadletters_exist(to));
    d = open_letters(); /* without entries, the other file goes */
    assert_true(deadletters_move(d, to, &e));
    assert_true(deadletters_move(d, to, &e)); /* twice is fine */
    deadletters_close(d);
    assert_false(deadletters_exist(to));
    deadletters_discard(to);
    free(to);
}

#define TEST(name) cmocka_unit_test_setup(name, remove_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_synced_is_read_back),
        TEST(a_line_has_all_that_the_header_names),
        TEST(appending_keeps_the_file_and_clearing_replaces_it),
        TEST(the_last_one_cleared_takes_the_file_along),
        TEST(a_key_rejected_again_replaces_its_entry),
        TEST(clearing_during_a_walk_is_fine),
        TEST(a_large_file_is_read_and_replaced),
        TEST(every_character_comes_back),
        TEST(what_is_no_text_becomes_question_marks),
        TEST(a_long_reason_is_cut_between_characters),
        TEST(a_pipeline_of_any_name_knows_its_own),
        TEST(every_cut_leaves_the_whole_lines),
        TEST(a_cut_line_goes_with_the_next_sync),
        TEST(damage_elsewhere_is_refused_with_its_number),
        TEST(zeros_at_the_end_are_a_cut_line),
        TEST(any_byte_may_be_wrong),
        TEST(the_last_line_of_a_key_counts),
        TEST(another_pipeline_is_kept_out),
        TEST(what_another_process_wrote_is_not_undone),
        TEST(a_file_that_was_removed_is_written_anew),
        TEST(the_file_behind_a_link_is_the_one),
        TEST(what_cannot_be_written_is_known_at_once),
        TEST(a_full_disk_loses_nothing),
        TEST(every_allocation_may_fail),
        TEST(they_move_to_another_file),
        TEST(no_sync_succeeds_after_an_addition_that_did_not),
    };
    return cmocka_run_group_tests_name("deadletter", tests, make_folder, remove_folder);
}
