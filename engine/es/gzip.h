/* gzip: compresses a request's body.
 *
 * Uses     zlib, buf.
 * Threads  each has a struct gzip of its own.
 *
 * Level 1: level 3 saves only 4 % more bytes and level 6 only 11 %, and both are slower. One core
 * compresses 123 MB of film documents a second to 1/3.1 of their size (measured with Debian 12's
 * zlib): 8 ms for each MB, which save 0.7 MB, so it breaks even on an idle link of 0.7 Gbit/s.
 * Compression is therefore on by default, except for servers on this machine, and off for bodies
 * that hardly shrink.
 */
#pragma once
#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

struct gzip;

struct gzip *gzip_new(void); /* NULL: no memory */
void gzip_free(struct gzip *g);
/* Compresses data. NULL: send it uncompressed (it is too short, it hardly shrinks, or memory is
 * short). Borrowed, until the next call. */
const struct buf *gzip_pack(struct gzip *g, const void *data, size_t len);
