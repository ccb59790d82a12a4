/* The command line, a word a line: every word is an option, its value, or left for the command. */
#include "base/err.h"
#include "cmd/cmd_run.h"
#include "cmd/commands.h"
#include "fuzz.h"

#include <getopt.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    CLAIM(freopen("/dev/null", "w", stdout)); /* --help */
    return 0;
}

/* getopt remembers where it was in the words of the last time. */
static void forget(void)
{
    char *none[] = {"x", NULL};
    optind = 0;
    getopt(1, none, "");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size), *words[40] = {"run"};
    int n = 1;
    for (char *next = text; next && n < 39; n++) {
        words[n] = next;
        if ((next = strchr(next, '\n')))
            *next++ = '\0';
    }
    struct run_command o = {0};
    struct err e = {0};
    struct cli_line line = {.argc = n, .argv = words};
    forget();
    if (!cli_parse(&cmd_run, &line, &o, &e))
        CLAIM(e.kind == ERR_USAGE && *e.text && *e.hint);
    else
        CLAIM(line.help || (line.first > 0 && line.first <= n));
    CLAIM(o.run.workers == 0 || (o.run.workers >= 1 && o.run.workers <= 64));
    CLAIM(o.run.limit >= 0 && o.run.give_up_after >= 0);
    free(text);
    return 0;
}
