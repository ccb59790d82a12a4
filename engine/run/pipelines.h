/* pipelines: several pipelines in one process, each in a thread of its own.
 *
 * Uses     run_pipeline, vitals, backoff, stop, log.
 * Threads  the caller's, which waits, and one for each pipeline. They share the signals and the
 *          log.
 * Promise  a pipeline that fails, or whose script cannot be read, does not touch the others. With
 *          --follow it is tried again, after a wait that grows to five minutes, or at once by
 *          SIGHUP; without, the others still come to their end. No two
 *          of them have the same name, state or index; those with one slot read it together
 *          (capture_hub.h).
 */
#pragma once
#include "base/err.h"
#include "run/run.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keylist;
struct vitals_list;

struct pipeline_outcome {
    bool ok;
    uint64_t rejected; /* documents */
    struct err error;  /* if not ok; it is logged already, unless it is ERR_STOPPED */
};

/* Replaces each script that returns a list by its pipelines, PATH#NAME. A script that cannot be
 * read stays as it is, for whoever opens it to say why; but if it is the only one: false,
 * ERR_USAGE. */
bool pipelines_expand(char *const *scripts, struct keylist *refs, struct err *e);

/* Runs the pipelines to their end; not dry: what they print would be mixed. outcomes, and what
 * vitals lists: one for each. False: e says why none was started; ERR_USAGE: two of them exclude
 * each other, no script can be read, or an option is for one pipeline alone. */
bool pipelines_run(const struct run_options *options, const struct keylist *refs,
                   struct pipeline_outcome *outcomes, const struct vitals_list *vitals,
                   struct err *e);
