/* main: chooses the command. */
#include "base/err.h"
#include "base/suggest.h"
#include "base/watchdog.h"
#include "cmd/commands.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct cli_command *const commands[] = {
    &cmd_run,  &cmd_reindex, &cmd_init, &cmd_check, &cmd_test,
    &cmd_diff, &cmd_verify,  &cmd_why,  &cmd_wait,  &cmd_state};
enum { COMMANDS = sizeof commands / sizeof *commands };

static int help(void)
{
    printf(
        "usage: etl-engine [COMMAND] SCRIPT [options]\n\n"
        "Keeps an Elasticsearch or OpenSearch index in sync with a PostgreSQL database, as a Lua "
        "script says.\n\n"
        "commands (default: run):\n");
    for (int i = 0; i < COMMANDS; i++)
        printf("  %-8s %s\n", commands[i]->name, commands[i]->summary);
    printf("\netl-engine COMMAND --help shows the options; etl-engine --version the version.\n");
    return EXIT_DONE;
}

/* A word that is no file and is followed by a script, or that resembles a command: a misspelt
 * command. */
static bool unknown_command(int argc, char **argv, struct err *e)
{
    const char *names[COMMANDS], *word = argv[1];
    for (int i = 0; i < COMMANDS; i++)
        names[i] = commands[i]->name;
    const char *near = suggest(word, names, COMMANDS);
    bool plain = !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-")];
    bool followed = argc > 2 && argv[2][0] != '-';
    if (word[0] == '-' || !plain || access(word, F_OK) == 0 || (!near && !followed))
        return false;
    if (near)
        err_set(e, ERR_USAGE, "unknown command '%s', did you mean '%s'?", word, near);
    else
        err_set(e, ERR_USAGE, "unknown command '%s'", word);
    err_hint(e, "etl-engine --help");
    return true;
}

/* Opens a closed stdin, stdout or stderr where nothing can be written. Otherwise the next socket
 * would get its number, and documents would be written to it. */
static void occupy_standard_files(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY) != fd)
            _exit(EXIT_FAILED);
}

/* Output that was not written (a full disk) is a failure. */
static int finish(int status)
{
    struct err e;
    if (fflush(stdout) == 0 || status != EXIT_DONE)
        return status;
    err_set(&e, ERR_FINAL, "cannot write to standard output");
    return cli_fail(&e);
}

int main(int argc, char **argv)
{
    struct err e;
    occupy_standard_files();
    watchdog_init();
    if (argc < 2) {
        err_set(&e, ERR_USAGE, "no script given");
        err_hint(&e, "etl-engine --help");
        return cli_fail(&e);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return finish(help());
    if (strcmp(argv[1], "--version") == 0) {
        printf("etl-engine %s\n", ETL_VERSION);
        return finish(EXIT_DONE);
    }
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(argv[1], commands[i]->name) == 0)
            return finish(cli_run(commands[i], argc - 1, argv + 1));
    if (unknown_command(argc, argv, &e))
        return cli_fail(&e);
    return finish(cli_run(&cmd_run, argc, argv));
}
