/* versions: the numbers that order the documents of one key.
 *
 * A document's version is PostgreSQL's clock, in microseconds, when its row was read. A clock may
 * go back, so no version is issued twice, and none below those of earlier runs.
 *
 * Uses     err.
 * Threads  any. One mutex, never held while calling out.
 * Promise  a fetch that begins once another one has its version gets a higher one. Two fetches
 *          never share a version: documents of equal versions would overwrite each other in any
 *          order.
 *
 *     int64_t reserved = versions_reserve(v);
 *     ... the query, which also reads PostgreSQL's clock
 *     int64_t version = versions_issue(v, clock, reserved);
 */
#pragma once
#include <stdint.h>

struct err;
struct versions;

/* floor: the highest version that earlier runs issued. NULL: no memory. */
struct versions *versions_new(int64_t floor, struct err *e);
void versions_free(struct versions *v); /* NULL is fine */

/* Before the clock is read: a version above all issued so far, which nobody else gets. */
int64_t versions_reserve(struct versions *v);
/* The version of that fetch: the clock's reading, or `reserved` where the clock has gone back. */
int64_t versions_issue(struct versions *v, int64_t clock, int64_t reserved);
int64_t versions_last(struct versions *v); /* the highest so far */
/* Versions issued from now on are above this one, too. */
void versions_raise(struct versions *v, int64_t version);
/* By how many microseconds a clock reading was behind the versions of earlier runs; 0: it was not,
 * or an earlier call has returned it. */
int64_t versions_clock_behind(struct versions *v);
