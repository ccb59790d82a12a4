/* ask_feeds: which keys are compared: those of a spool, and where they come from: the ids of the
 * index, or a sample.
 *
 * Uses     ask, spool, sums, collector, feed, index, source.
 * Threads  one, the main thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct ask;
struct collector;
struct err;
struct feed;
struct spool;
struct sums;

/* The keys of a spool (borrowed). c: expects what was seen of each key; NULL: nobody does. NULL: e
 * says why. */
struct feed *ask_feed_spool(struct ask *a, struct spool *s, struct collector *c, struct err *e);
/* What another feed (taken; NULL: e says why) brings, at most `rate` keys a second (0: any
 * number). */
struct feed *ask_feed_slowly(struct feed *inner, double rate, struct err *e);

/* Adds the ids of the index that `seen` lacks. *spool: new; owned by the caller. */
bool ask_find_unseen(struct ask *a, const struct sums *seen, struct spool **spool, struct err *e);
/* Adds the ids of documents that have a routing which nobody chose (index/routed.h). */
bool ask_find_routed(struct ask *a, struct spool **spool, struct err *e);
/* Adds n random keys of rows, and n random ids of the index. */
bool ask_find_sample(struct ask *a, size_t n, struct spool **spool, struct err *e);
