/* run_index: the index of a run: opened, checked against the script, and still the same one.
 *
 * Uses     run, run_state, run_meta, index, state.
 * Threads  one, the main thread.
 * Promise  after run_open_index the index exists, fits the script, and belongs to no other
 *          pipeline.
 */
#pragma once
#include <stdbool.h>

struct err;
struct run;
struct run_script;

/* Checks, once, that the search server answers as one. */
bool run_check_search(struct run *r, struct err *e);
/* Looks the index up, without a change; r->index.info.exists tells whether there is one. ERR_USAGE:
 * it belongs to another pipeline. */
bool run_find_index(struct run *r, struct err *e);
/* Looks the index up, creates it if it is missing, and makes it fit the script. */
bool run_open_index(struct run *r, struct err *e);
/* Checks that the index has the fields that source.related[].index_field names, or may still get
 * them. loaded: all documents are in it, so a missing field is worth a warning. */
bool run_check_fields(struct run *r, const struct run_script *s, bool loaded, struct err *e);
/* Makes the open index fit a script that is to replace r->user. */
bool run_fit_index(struct run *r, struct run_script *fresh, struct err *e);
/* Checks that the index is still the one that was opened, or one that reindex has put in its place
 * (then r->index.replaced is set: run_adopt). Otherwise ERR_FINAL. */
bool run_check_index(struct run *r, struct err *e);
/* A load has begun, and the state says so: the index is no longer new, and its metadata name this
 * script. */
void run_index_is_loading(struct run *r);
/* The index name to search for documents: it sees all that the script keeps in sync, also what a
 * filtered alias hides. Borrowed. */
const char *run_index_to_search(const struct run *r);
/* Continues with the index that reindex has put in place of ours: from our checkpoints, or from
 * those that reindex left. Everything is due to be swept. */
bool run_adopt(struct run *r, struct err *e);
/* Where the reindex of a pipeline with this state file keeps its own; owned by the caller; NULL: no
 * memory. */
char *run_reindex_path(const char *state);
