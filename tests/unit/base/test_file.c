/* A whole file is read, or it is known why not; errno tells a full disk from a missing right. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "torture.h"

static int file_of(size_t size)
{
    static char data[40000];
    struct err e;
    int fd = memfd_create("test_file", MFD_CLOEXEC);
    assert_true(fd >= 0);
    memset(data, 'x', sizeof data);
    assert_true(file_write(fd, data, size, "a file", &e));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static enum file_end read_into(struct buf *b, size_t size)
{
    int fd = file_of(size);
    enum file_end end = file_read(fd, b);
    close(fd);
    return end;
}

static void a_file_is_added_as_a_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 16384, 16385, 40000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        buf_adds(&b, "before ");
        assert_int_equal(read_into(&b, sizes[i]), FILE_COMPLETE);
        assert_int_equal(b.len, 7 + sizes[i]);
        assert_memory_equal(b.data, "before ", 7);
        buf_free(&b);
    }
}

static void a_ceiling_is_told_from_memory(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 20000);
    assert_int_equal(read_into(&b, 19999), FILE_COMPLETE);
    buf_clear(&b);
    assert_int_equal(read_into(&b, 20001), FILE_TOO_LARGE);
    assert_int_equal(b.len, 20000);
    buf_free(&b);
    int fd = file_of(20);
    allocations_left = 0;
    assert_int_equal(file_read(fd, &b), FILE_NO_MEMORY);
    allocations_left = -1;
    buf_free(&b);
    close(fd);
}

static void a_folder_cannot_be_read(void **state)
{
    (void)state;
    struct buf b;
    struct err e;
    buf_init(&b, 100);
    int fd = open("/", O_RDONLY | O_CLOEXEC);
    assert_int_equal(file_read(fd, &b), FILE_ERROR);
    assert_int_equal(errno, EISDIR);
    assert_false(file_error(&e, "read", "/"));
    assert_string_equal(e.text, "cannot read '/': Is a directory");
    assert_int_equal(e.kind, ERR_FINAL);
    close(fd);
    buf_free(&b);
}

static void a_full_disk_is_passing(void **state)
{
    (void)state;
    struct err e;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_false(file_write(fd, "x", 1, "/dev/full", &e));
    assert_string_equal(e.text, "could not write '/dev/full': No space left on device");
    assert_int_equal(e.kind, ERR_PASSING);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_added_as_a_whole),
        cmocka_unit_test(a_ceiling_is_told_from_memory),
        cmocka_unit_test(a_folder_cannot_be_read),
        cmocka_unit_test(a_full_disk_is_passing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
