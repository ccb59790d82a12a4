/* cli: the command line. One table for each command feeds both the parser and --help, so that they
 * cannot differ.
 *
 * Uses     err, log, stop, suggest.
 * Threads  one, the main thread.
 *
 *     static const struct cli_option options[] = {
 *         {"workers", 0, "N", CLI_NUMBER, offsetof(struct run_command, run.workers), 1, 64,
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

/* A command, called: its words are checked, and logging is set up. */
struct cli_call {
    const void *options; /* the command's struct */
    char **words;        /* the arguments that are no options; ends with NULL */
    bool terminal;       /* a progress line may be drawn on stderr */
};

struct cli_command {
    const char *name;                 /* "run" */
    const char *usage;                /* "[run] SCRIPT [options]" */
    const char *summary;              /* one line, for the list of commands */
    const struct cli_option *options; /* its own; ends with a zeroed one; NULL: none */
    const void *defaults;             /* of its struct, which begins with a cli_log; NULL: zeroed */
    size_t size;                      /* of that struct */
    /* Checks the n words; false: ERR_USAGE. NULL: they must be one script. */
    bool (*check_words)(int n, char **words, struct err *e);
    int (*main)(const struct cli_call *call, struct err *e); /* returns the exit status */
};

/* Runs a command to its end: parses argv (argv[0] is the command's name), prints its help if that
 * is asked for, or calls its main. Returns the exit status. */
int cli_run(const struct cli_command *c, int argc, char **argv);

struct cli_line {
    int argc;
    char **argv; /* argv[0] is the command's name; options are moved before the other words */
    int first;   /* out: the index of the first word that is no option */
    bool help;   /* out: --help was given, and the help was printed on stdout */
};
/* Fills options, the command's struct. False, ERR_USAGE: a hint names the help. */
bool cli_parse(const struct cli_command *c, struct cli_line *line, void *options, struct err *e);

/* Prints e as the command's last message, and returns the exit status for it. */
int cli_fail(const struct err *e);

/* The exit status for e. */
int cli_status(const struct err *e);

enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_WRONG_USAGE = 2,
    EXIT_GAVE_UP = 3,
    EXIT_REJECTED = 4,
    EXIT_DIFFERENT = 5
};

/* Of an option --format: "text" or "json", or NULL. */
bool cli_wants_json(const char *format, bool *json, struct err *e);

/* How to log: the options that every command has besides its own. A command's struct begins with
 * it. */
struct cli_log {
    const char *format; /* "text", "json", or NULL */
    bool quiet, verbose;
};
