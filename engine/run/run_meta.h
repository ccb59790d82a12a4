/* run_meta: what an index's _meta says of the run: which pipeline owns it, which script made its
 * documents, the last version issued.
 *
 * Uses     run, index, versions, log.
 * Threads  one, the main thread.
 * Promise  a run writes to no index that another pipeline owns. Metadata that cannot be written
 *          costs a warning, not the run.
 */
#pragma once
#include <stdbool.h>

struct err;
struct index_meta;
struct run;

/* Starts from the metadata that was found in the index. An index without any is taken to hold what
 * this script makes. Versions continue above those that were issued. */
void run_adopt_meta(struct run *r, const struct index_meta *found);
/* Writes r->index.meta, with the last version issued, to the index, if it differs from what is
 * there. Never fails: without the privilege it warns once. */
void run_save_meta(struct run *r);
/* All documents in the index are now made by this script: loaded, or else compared by a sweep. */
void run_set_meta_script(struct run *r, bool loaded);

/* Checks that no index which the pipeline may write to, or delete in, belongs to another pipeline;
 * may_take_over: those of one other pipeline become ours. */
bool run_check_owner(struct run *r, bool may_take_over, struct err *e);
/* Says that this index belongs to another pipeline: ERR_USAGE. Always false. */
bool run_refuse_owner(const struct run *r, const char *index, const char *owner, struct err *e);
