#include "es/gzip.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

enum {
    LEAST = 1200,          /* bytes: a shorter body fits in one packet anyway */
    GZIP_WINDOW = 15 + 16, /* zlib's notation for the largest window with a gzip header */
    MEMORY = 8,            /* zlib's default */
    PASSES = 32,           /* bodies sent uncompressed after one that hardly shrank */
};

struct gzip {
    z_stream stream;
    bool ready; /* the stream needs deflateEnd */
    int passes; /* bodies still to be sent without trying */
    struct buf out;
};

/* Our own, so that tests can make them fail. */
static void *allocate(void *arg, unsigned n, unsigned size)
{
    (void)arg;
    return calloc(n, size);
}

static void release(void *arg, void *p)
{
    (void)arg;
    free(p);
}

struct gzip *gzip_new(void)
{
    struct gzip *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->stream.zalloc = allocate;
    g->stream.zfree = release;
    buf_init(&g->out, SIZE_MAX / 2);
    g->ready = deflateInit2(&g->stream, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, MEMORY,
                            Z_DEFAULT_STRATEGY) == Z_OK;
    if (g->ready)
        return g;
    gzip_free(g);
    return NULL;
}

void gzip_free(struct gzip *g)
{
    if (!g)
        return;
    if (g->ready)
        deflateEnd(&g->stream);
    buf_free(&g->out);
    free(g);
}

/* Compresses into room for nine tenths of the data: what does not fit is not worth it. */
static bool deflate_all(struct gzip *g, const void *data, size_t len)
{
    size_t room = len - len / 10;
    buf_clear(&g->out);
    if (!buf_reserve(&g->out, room) || deflateReset(&g->stream) != Z_OK)
        return false;
    g->stream.next_in = (z_const Bytef *)data;
    g->stream.avail_in = (uInt)len;
    g->stream.next_out = (Bytef *)g->out.data;
    g->stream.avail_out = (uInt)room;
    int end = deflate(&g->stream, Z_FINISH);
    g->out.len = room - g->stream.avail_out;
    if (end != Z_STREAM_END)
        g->passes = PASSES;
    return end == Z_STREAM_END;
}

const struct buf *gzip_pack(struct gzip *g, const void *data, size_t len)
{
    if (len < LEAST || len > INT_MAX) /* zlib counts in unsigned int */
        return NULL;
    if (g->passes > 0) {
        g->passes--;
        return NULL;
    }
    return deflate_all(g, data, len) ? &g->out : NULL;
}
