#include "ask/spool.h"

#include "base/buf.h"
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NO_ROWS = 1, ANY_ROUTING = 2 }; /* flags */

/* A record in the file: its flags, the mark and the key, these two each with its final zero. */
struct spool {
    FILE *file; /* owned */
    size_t n;
    char *line[2]; /* owned: of the mark, and of the key */
    size_t cap[2];
};

static bool file_failed(const char *what, struct err *e)
{
    return err_set(e, ERR_FINAL, "cannot %s a temporary file: %s", what, strerror(errno));
}

static int open_unnamed(void)
{
    const char *folder = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/etl-engine-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

struct spool *spool_open(struct err *e)
{
    struct spool *s = calloc(1, sizeof *s);
    if (!s) {
        err_memory(e);
        return NULL;
    }
    int fd = open_unnamed();
    if (fd >= 0 && (s->file = fdopen(fd, "w+")))
        return s;
    file_failed("make", e);
    if (fd >= 0)
        close(fd);
    free(s);
    return NULL;
}

void spool_close(struct spool *s)
{
    if (!s)
        return;
    fclose(s->file);
    free(s->line[0]);
    free(s->line[1]);
    free(s);
}

bool spool_pack(struct buf *block, const struct spool_record *r)
{
    buf_addc(block, (char)((r->no_rows ? NO_ROWS : 0) | (r->any_routing ? ANY_ROUTING : 0)));
    buf_add(block, r->mark, strlen(r->mark) + 1);
    return buf_add(block, r->key, strlen(r->key) + 1);
}

bool spool_add(struct spool *s, const struct buf *block, size_t n, struct err *e)
{
    if (block->len > 0 && fwrite(block->data, 1, block->len, s->file) != block->len)
        return file_failed("write", e);
    s->n += n;
    return true;
}

size_t spool_count(const struct spool *s)
{
    return s->n;
}

bool spool_rewind(struct spool *s, struct err *e)
{
    return (fflush(s->file) == 0 && fseek(s->file, 0, SEEK_SET) == 0) || file_failed("read", e);
}

static bool read_part(struct spool *s, int i, struct err *e)
{
    return getdelim(&s->line[i], &s->cap[i], '\0', s->file) > 0 || file_failed("read", e);
}

bool spool_next(struct spool *s, struct spool_record *r, struct err *e)
{
    *r = (struct spool_record){0};
    int flags = getc(s->file);
    if (flags == EOF)
        return !ferror(s->file) || file_failed("read", e);
    if (!read_part(s, 0, e) || !read_part(s, 1, e))
        return false;
    *r = (struct spool_record){.key = s->line[1],
                               .mark = s->line[0],
                               .no_rows = flags & NO_ROWS,
                               .any_routing = flags & ANY_ROUTING};
    return true;
}
