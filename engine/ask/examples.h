/* examples: a script's `examples`, tried: each row's document is compared with the expected one.
 *
 * Uses     script, pipeline, script_example, compare, file.
 * Threads  one, the main thread.
 * Promise  no server is asked, and no file is changed. A document is made by the code that makes it
 *          in a run.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;
struct pipeline;
struct script;

/* line: of the script; 0: not known. */
typedef void examples_report(int line, const char *text, void *arg);

struct examples_trial {    /* all but the counts: borrowed, for the time of the call */
    struct script *script; /* and the pipeline that was read from it */
    const struct pipeline *pipeline;
    examples_report *report; /* is told of each failing example, and of each field that differs */
    void *arg;               /* report's */
    size_t n, failed;        /* out */
};
/* Tries all examples. False: they cannot be read (ERR_USAGE), or there is no memory. */
bool examples_try(struct examples_trial *t, struct err *e);

/* Tries the examples of the script at path, and prints what differs. *failed: some do. */
bool examples_run(const char *path, bool *failed, struct err *e);
/* Prints the document of each row in the file ("-": standard input): of one JSON object, or of one
 * a line. A row without a document gives null. */
bool examples_print_rows(const char *path, const char *rows, struct err *e);
