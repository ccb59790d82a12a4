/* cli: the command line: one table for each command feeds both the parser and --help, so they
 * cannot part.
 *
 * Uses     err.
 *
 *     static const struct cli_option options[] = {
 *         {"workers", 0, "N", CLI_NUMBER, offsetof(struct run_options, workers), 1, 64,
 *          "worker threads (default 2)"},
 *         {0},
 *     };
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define ETL_VERSION "0.1.0"

struct err;

enum cli_kind {
    CLI_FLAG,   /* bool */
    CLI_TEXT,   /* const char *, borrowed from argv */
    CLI_NUMBER, /* long long, from min to max */
};

struct cli_option {
    const char *name;
    char letter; /* 0: none */
    const char *arg;
    enum cli_kind kind;
    size_t offset; /* of its field in the options struct */
    long long min, max;
    const char *help;
};

struct cli_command {
    const char *name;                   /* "run" */
    const char *usage;                  /* "[run] SCRIPT [options]" */
    const char *summary;                /* one line, for the list of commands */
    const struct cli_option *options;   /* ends with a zeroed one */
    int (*main)(int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
};

/* Fills `out` from argv; *first: index of the first argument that is no option (they are moved to
 * the end, in order). False, ERR_USAGE: a hint names the help. --help prints the help on stdout and
 * sets *help. */
bool cli_parse(const struct cli_command *c, int argc, char **argv, void *out, int *first,
               bool *help, struct err *e);

/* Prints e as the command's last word, and returns the exit status that belongs to it. */
int cli_fail(const struct err *e);

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_WRONG_USAGE = 2, EXIT_GAVE_UP = 3, EXIT_REJECTED = 4 };

/* The options that every command knows: how to log. A command's options struct begins with this
 * one, its table with CLI_LOG_OPTIONS. */
struct cli_log {
    const char *format; /* "text", "json", or NULL */
    bool quiet, verbose;
};
#define CLI_LOG_OPTIONS                                                                            \
    {"log-format",                                                                                 \
     0,                                                                                            \
     "FORMAT",                                                                                     \
     CLI_TEXT,                                                                                     \
     offsetof(struct cli_log, format),                                                             \
     0,                                                                                            \
     0,                                                                                            \
     "text (default) or json"},                                                                    \
        {"quiet",                                                                                  \
         'q',                                                                                      \
         NULL,                                                                                     \
         CLI_FLAG,                                                                                 \
         offsetof(struct cli_log, quiet),                                                          \
         0,                                                                                        \
         0,                                                                                        \
         "log warnings and errors alone"},                                                         \
    {                                                                                              \
        "verbose", 'v', NULL, CLI_FLAG, offsetof(struct cli_log, verbose), 0, 0, "log details too" \
    }
/* Sets logging up. *terminal: a progress line may be drawn. */
bool cli_log_setup(const struct cli_log *o, bool *terminal, struct err *e);

extern const struct cli_command cmd_run, cmd_reindex, cmd_state;
