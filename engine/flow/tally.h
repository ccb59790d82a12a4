/* tally: what the workers of a pipeline have counted, all together.
 *
 * Uses     counts, keyset, ledger, err.
 * Threads  any. One mutex, never held while calling out, but to the ledger.
 * Promise  a rejected key counts once in the counts, and once in each window, however often its row
 *          is read again. (Beyond 64 MB of rejected keys it may count again.)
 *
 * A window is the time between two calls of tally_begin_window; the first one begins with the
 * tally. max_rejected applies to one window.
 */
#pragma once
#include "model/counts.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct change_times;
struct err;
struct ledger;
struct tally;

struct tally *tally_new(struct err *e); /* NULL: no memory */
void tally_free(struct tally *t);       /* NULL is fine */

/* All that is counted from now on is also entered there. Borrowed; NULL: nowhere. Before any worker
 * runs. */
void tally_enter_in(struct tally *t, struct ledger *l);
/* What workers have counted before these, and entered already. */
void tally_carry(struct tally *t, const struct counts *sums);

void tally_add(struct tally *t, const struct counts *delta);
/* n documents of changes of these times are acknowledged. */
void tally_deliver(struct tally *t, const struct change_times *changed, size_t n);
struct counts tally_counts(struct tally *t); /* NULL is fine: no workers yet, all is 0 */

/* Counts a key whose document was rejected. False: it was already counted in this window. */
bool tally_reject(struct tally *t, const char *key);
/* Counts such a key in the counts alone: no window has it. */
void tally_reject_apart(struct tally *t, const char *key);
/* Rejections in this window: of keys, and of rows without a key (tally_add). */
uint64_t tally_rejected_in_window(struct tally *t);
void tally_begin_window(struct tally *t);

/* Keeps a key for which the query has several rows, as an example: the first one stays. */
void tally_set_repeated(struct tally *t, const char *key);
void tally_repeated(struct tally *t, char *out, size_t size); /* "": there is none */
