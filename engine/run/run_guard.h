/* run_guard: how many documents a run may delete before it stops as a precaution.
 *
 * Uses     run, run_index, index, delete_budget.
 * Threads  one, the main thread.
 */
#pragma once
#include <stdbool.h>

struct err;
struct errand;
struct run;

enum { RUN_FREE_DELETES = 10 }; /* documents that may always be deleted */

/* Renews how many documents may be deleted: half of those that the index held when the run was last
 * known to be complete. With --allow-deletes there is no limit. */
bool run_guard(struct run *r, struct err *e);
/* The same, once, for an errand that has no limit yet. */
bool run_guard_errand(struct run *r, struct errand *x, struct err *e);
/* Whether the index, or one of sink.indices, has documents. */
bool run_has_documents(struct run *r, bool *any, struct err *e);
/* The run is complete: counts the documents, for the next run_guard. */
bool run_count_documents(struct run *r, struct err *e);
