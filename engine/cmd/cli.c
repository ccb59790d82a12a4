#include "cmd/cli.h"

#include "base/err.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/stop.h"
#include "base/suggest.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_OPTIONS = 40, HELP_COLUMN = 30 };

static const struct cli_option log_options[] = {
    {"log-format", 0, "text|json", CLI_TEXT, offsetof(struct cli_log, format), 0, 0,
     "the format of log lines (default text)"},
    {"quiet", 'q', NULL, CLI_FLAG, offsetof(struct cli_log, quiet), 0, 0,
     "log only warnings and errors"},
    {"verbose", 'v', NULL, CLI_FLAG, offsetof(struct cli_log, verbose), 0, 0, "also log details"},
    {0},
};

/* Option i: the command's own ones come first. NULL: there are no more. */
static const struct cli_option *option_at(const struct cli_command *c, size_t i)
{
    size_t own = 0;
    while (c->options && c->options[own].name)
        own++;
    const struct cli_option *o = i < own ? &c->options[i] : &log_options[i - own];
    assert(i <
           MAX_OPTIONS - 2); /* the tables of getopt have room for it, for --help, and the end */
    return o->name ? o : NULL;
}

/* Reads a whole number within a range; text must be nothing else. */
static bool read_number(const char *text, long long min, long long max, long long *out)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno || end == text || *end || n < min || n > max)
        return false;
    *out = n;
    return true;
}

static bool usage(struct err *e, const struct cli_command *c)
{
    return err_hint(e, "etl-engine %s --help", c->name);
}

static void print_option(const struct cli_option *o)
{
    char left[64];
    int n = o->letter ? snprintf(left, sizeof left, "  -%c, --%s", o->letter, o->name)
                      : snprintf(left, sizeof left, "      --%s", o->name);
    if (o->arg)
        snprintf(left + n, sizeof left - (size_t)n, " %s", o->arg);
    printf("%-*s  %s\n", HELP_COLUMN, left, o->help);
}

static void print_help(const struct cli_command *c)
{
    printf("usage: etl-engine %s\n\n%s\n\noptions:\n", c->usage, c->summary);
    const struct cli_option *o;
    for (size_t i = 0; (o = option_at(c, i)); i++)
        print_option(o);
    printf("%-*s  %s\n", HELP_COLUMN, "  -h, --help", "show this help");
}

static bool set_option(const struct cli_command *c, const struct cli_option *o, const char *arg,
                       void *out, struct err *e)
{
    void *field = (char *)out + o->offset;
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)field = true;
        return true;
    case CLI_TEXT:
        *(const char **)field = arg;
        return true;
    case CLI_NUMBER:
        if (read_number(arg, o->min, o->max, field))
            return true;
        err_set(e, ERR_USAGE, "option --%s takes a whole number from %lld to %lld, not '%s'",
                o->name, o->min, o->max, arg);
        return usage(e, c);
    }
    return true;
}

/* Makes getopt's tables from ours; the value of option i is 256 + i, or its letter. */
static void make_tables(const struct cli_command *c, struct option longs[], char shorts[])
{
    size_t n = 0, s = 0;
    shorts[s++] = ':'; /* tells a missing argument from an unknown option */
    shorts[s++] = 'h';
    const struct cli_option *o;
    for (; (o = option_at(c, n)); n++) {
        longs[n] =
            (struct option){o->name, o->arg ? required_argument : no_argument, NULL, 256 + (int)n};
        if (o->letter) {
            shorts[s++] = o->letter;
            if (o->arg)
                shorts[s++] = ':';
        }
    }
    longs[n++] = (struct option){"help", no_argument, NULL, 'h'};
    longs[n] = (struct option){0};
    shorts[s] = '\0';
}

static const struct cli_option *find_option(const struct cli_command *c, int value)
{
    const struct cli_option *o;
    if (value >= 256)
        return option_at(c, (size_t)value - 256);
    for (size_t i = 0; (o = option_at(c, i)); i++)
        if (o->letter == value)
            return o;
    return NULL;
}

/* "--folow=3": the option that was meant, or NULL. */
static const char *near_option(const struct cli_command *c, const char *word)
{
    const char *names[MAX_OPTIONS] = {"help"};
    char name[40];
    size_t n = 1, dashes = strspn(word, "-"), len = strcspn(word + dashes, "=");
    if (len >= sizeof name)
        return NULL;
    snprintf(name, sizeof name, "%.*s", (int)len, word + dashes);
    const struct cli_option *o;
    for (size_t i = 0; (o = option_at(c, i)); i++)
        names[n++] = o->name;
    return suggest(name, names, n);
}

static bool unknown(struct err *e, const struct cli_command *c, const char *word)
{
    const char *near = near_option(c, word);
    if (optopt >= 256) /* --quiet=3 */
        err_set(e, ERR_USAGE, "option '--%s' takes no value", find_option(c, optopt)->name);
    else if (near)
        err_set(e, ERR_USAGE, "unknown option '%s', did you mean '--%s'?", word, near);
    else if (optopt) /* a letter, maybe one of several: "-nqx" */
        err_set(e, ERR_USAGE, "unknown option '-%c'", optopt);
    else
        err_set(e, ERR_USAGE, "unknown option '%s'", word);
    return usage(e, c);
}

bool cli_parse(const struct cli_command *c, struct cli_line *line, void *options, struct err *e)
{
    struct option longs[MAX_OPTIONS];
    char shorts[2 * MAX_OPTIONS + 3];
    make_tables(c, longs, shorts);
    opterr = 0;
    optind = 1;
    line->help = false;
    for (int value; (value = getopt_long(line->argc, line->argv, shorts, longs, NULL)) != -1;) {
        const char *word = line->argv[optind - 1];
        if (value == 'h') {
            print_help(c);
            return line->help = true;
        }
        if (value == ':') {
            err_set(e, ERR_USAGE, "option '%s' needs a value", word);
            return usage(e, c);
        }
        if (value == '?')
            return unknown(e, c, word);
        const struct cli_option *o = find_option(c, value);
        if (!set_option(c, o, optarg, options, e))
            return false;
    }
    line->first = optind;
    return true;
}

int cli_fail(const struct err *e)
{
    if (e->kind == ERR_STOPPED) /* as requested: not an error */
        log_info_with(LOG_FIELDS(LOG_ERR(e)), "%s", e->text);
    else
        log_fatal(e);
    notify_status("%s", e->text);
    return cli_status(e);
}

int cli_status(const struct err *e)
{
    switch (e->kind) {
    case ERR_USAGE:
        return EXIT_WRONG_USAGE;
    case ERR_PASSING:
        return EXIT_GAVE_UP;
    case ERR_STOPPED:
        return 128 + stop_asked();
    case ERR_NONE:
    case ERR_FINAL:
        break;
    }
    return EXIT_FAILED;
}

bool cli_wants_json(const char *format, bool *json, struct err *e)
{
    *json = format && strcmp(format, "json") == 0;
    return *json || !format || strcmp(format, "text") == 0 ||
           err_set(e, ERR_USAGE, "option --format takes 'text' or 'json', not '%s'", format);
}

/* *terminal: a progress line may be drawn. */
static bool set_log_up(const struct cli_log *o, bool *terminal, struct err *e)
{
    if (o->format && strcmp(o->format, "text") != 0 && strcmp(o->format, "json") != 0) {
        err_set(e, ERR_USAGE, "option --log-format takes 'text' or 'json', not '%s'", o->format);
        return err_hint(e, "etl-engine run --help");
    }
    if (o->quiet && o->verbose) {
        err_set(e, ERR_USAGE, "options --quiet and --verbose exclude each other");
        return err_hint(e, "etl-engine run --help");
    }
    bool json = o->format && strcmp(o->format, "json") == 0, tty = isatty(STDERR_FILENO);
    const char *no_color = getenv("NO_COLOR");
    log_setup(&(struct log_options){
        .level = o->quiet     ? LOG_WARN
                 : o->verbose ? LOG_DEBUG
                              : LOG_INFO,
        .json = json,
        .color = tty && !json && !(no_color && *no_color),
    });
    *terminal = tty && !json && !o->quiet;
    return true;
}

static bool check_script(const struct cli_command *c, int n, struct err *e)
{
    if (n == 1)
        return true;
    err_set(e, ERR_USAGE, n == 0 ? "no script given" : "more than one script given");
    return usage(e, c);
}

static int call(const struct cli_command *c, struct cli_line *line, void *options)
{
    struct err e = {0};
    if (c->defaults)
        memcpy(options, c->defaults, c->size);
    if (!cli_parse(c, line, options, &e))
        return cli_fail(&e);
    if (line->help)
        return EXIT_DONE;
    int n = line->argc - line->first;
    struct cli_call call = {.options = options, .words = line->argv + line->first};
    bool ok = (c->check_words ? c->check_words(n, call.words, &e) : check_script(c, n, &e)) &&
              set_log_up(options, &call.terminal, &e);
    return ok ? c->main(&call, &e) : cli_fail(&e);
}

int cli_run(const struct cli_command *c, int argc, char **argv)
{
    struct cli_line line = {.argc = argc, .argv = argv};
    struct err e;
    void *options = calloc(1, c->size);
    if (!options) {
        err_memory(&e);
        return cli_fail(&e);
    }
    int status = call(c, &line, options);
    free(options);
    return status;
}
