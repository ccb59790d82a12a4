/* delete_budget: how many more documents the workers may delete. It guards against mass deletion: a
 * source error, an emptied table, row security or a wrong join must never empty an index.
 *
 * Uses     err.
 * Threads  any. One mutex, never held while calling out.
 * Promise  no more deletes are reserved than were allowed.
 *
 *     if (!delete_budget_reserve(b, n))
 *         return err_set(e, ...);
 *     ... send n deletes, of which `deleted` found a document
 *     delete_budget_refund(b, n - deleted);
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* The hint of an error that refuses to delete, here and wherever a run refuses for the same
 * reason. */
#define DELETE_BUDGET_HINT                                                                         \
    "is the table empty, the query's join wrong, or are rows hidden from this user? if the rows "  \
    "are really gone: --allow-deletes"

struct delete_budget;
struct err;

struct delete_budget *delete_budget_new(struct err *e); /* without a limit; NULL: no memory */
void delete_budget_free(struct delete_budget *b);       /* NULL is fine */

/* From now on, n more documents may be deleted; negative: any number. */
void delete_budget_set(struct delete_budget *b, int64_t n);
/* False: n more are not allowed, and none is reserved. */
bool delete_budget_reserve(struct delete_budget *b, int64_t n);
/* Of what was reserved, n deleted nothing. */
void delete_budget_refund(struct delete_budget *b, int64_t n);
