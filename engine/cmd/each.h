/* each: a command over several pipelines, one after the other.
 *
 * Uses     cli, pipelines, stop, log.
 * Threads  one, the main thread.
 */
#pragma once
#include <stdbool.h>

struct err;

/* What a command does with one pipeline, "PATH" or "PATH#NAME". *status: EXIT_DONE, to be changed.
 * False: it has failed with e, which is not told yet; EXIT_DONE: and which decides the status. */
typedef bool each_one(void *arg, const char *ref, int *status, struct err *e);

/* Catches signals, and does it for each pipeline of the scripts (ends with NULL), also of those
 * that return a list. An error is told, with its pipeline in front, and the others follow, unless a
 * stop was asked for. Returns the worst exit status. */
int each_pipeline(char *const *scripts, each_one *one, void *arg, struct err *e);

/* Tells the error of a pipeline; of one of several, with that in front, unless the error names it
 * already. Returns the exit status. */
int each_fail(struct err *e, const char *ref, bool several);
/* The worse one of two exit statuses: what the user has to correct comes first. */
int each_worst(int a, int b);
/* For cli_command.check_words: one script, or more. */
bool each_words(int n, char **words, struct err *e);
/* False, ERR_USAGE: the option was given, and there are several pipelines. */
bool each_option(bool given, const char *option, char *const *scripts, struct err *e);
