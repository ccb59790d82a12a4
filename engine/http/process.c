#include "http/process.h"

#include "base/clock.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static int64_t now_us(clockid_t clock)
{
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* proc(5): "123 (name) S ..."; a name may hold spaces and parentheses. */
static void read_stat(struct process *out)
{
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *rest = strrchr(text, ')');
    long long threads, start, size, pages;
    /* fields 3 to 24: threads are the 20th */
    if (!rest || sscanf(rest + 1,
                        " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                        "%lld %*d %lld %lld %lld",
                        &threads, &start, &size, &pages) != 4)
        return;
    out->threads = threads;
    out->virtual_bytes = size;
    out->resident_bytes = pages * sysconf(_SC_PAGESIZE);
    int64_t age_us = now_us(CLOCK_BOOTTIME) - start * 1000000 / sysconf(_SC_CLK_TCK);
    out->started_us = clock_wall_us() - age_us;
}

static int64_t count_files(void)
{
    int64_t n = 0;
    DIR *folder = opendir("/proc/self/fd");
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        n += entry->d_name[0] != '.';
    if (!folder)
        return 0;
    closedir(folder);
    return n - 1; /* without the folder's own */
}

void process_look(struct process *out)
{
    struct rlimit files = {0};
    *out = (struct process){.cpu_seconds = (double)now_us(CLOCK_PROCESS_CPUTIME_ID) / 1e6};
    read_stat(out);
    out->open_files = count_files();
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
        out->most_files = (int64_t)files.rlim_cur;
}
