/* check: what would hurt a pipeline later, found before it does.
 *
 * Uses     run (script, servers), source, index, script_example, mapping_check, log.
 * Threads  one, the main thread.
 * Promise  nothing is changed: no index, no state, no lock, no slot, no table. A finding is one
 *          line with its remedy, an SQL statement or a line of the script, where there is one.
 *
 *     check.c            the scripts, one after the other; what they share
 *     check_finding.c    findings, and how they are printed
 *     check_script.c     the script alone: without any server
 *     check_files.c      state and journal on disk
 *     check_source.c     PostgreSQL: privileges, tables, keys, cursors
 *     check_plan.c       how PostgreSQL would run the real statements
 *     check_capture.c    the write-ahead log
 *     check_index.c      the search server and its index
 *     check_ingest.c     the ingest pipelines of the index
 *     check_documents.c  the documents of the first rows
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;

struct check_options {
    bool offline; /* ask no server */
    bool json;    /* one JSON object for each finding */
};

enum check_result { CHECK_CLEAN, CHECK_WARNINGS, CHECK_ERRORS };

/* Checks the scripts and prints what was found on stdout. False: it could not be completed (a stop,
 * no memory). */
bool check_scripts(char *const *paths, size_t n, const struct check_options *o,
                   enum check_result *result, struct err *e);
