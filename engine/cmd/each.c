#include "cmd/each.h"

#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "cmd/cli.h"
#include "model/keylist.h"
#include "run/pipelines.h"

#include <string.h>

int each_worst(int a, int b)
{
    static const int order[] = {EXIT_DONE,    EXIT_DIFFERENT, EXIT_REJECTED,
                                EXIT_GAVE_UP, EXIT_FAILED,    EXIT_WRONG_USAGE};
    if (a > EXIT_DIFFERENT || b > EXIT_DIFFERENT) /* by a signal */
        return a > b ? a : b;
    int status = EXIT_DONE;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (order[i] == a || order[i] == b)
            status = order[i];
    return status;
}

bool each_words(int n, char **words, struct err *e)
{
    (void)words;
    if (n > 0)
        return true;
    err_set(e, ERR_USAGE, "no script given");
    return err_hint(e, "etl-engine --help");
}

int each_fail(struct err *e, const char *ref, bool several)
{
    if (several && e->kind != ERR_STOPPED && !strstr(e->text, ref))
        err_wrap(e, "%s", ref);
    return cli_fail(e);
}

static int do_one(const char *ref, bool several, each_one *one, void *arg)
{
    struct err e;
    int status = EXIT_DONE;
    if (one(arg, ref, &status, &e))
        return status;
    int failed = each_fail(&e, ref, several);
    return status != EXIT_DONE ? status : failed;
}

static bool check_twice(const struct keylist *refs, struct err *e)
{
    for (size_t i = 0; i < refs->n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(refs->keys[i], refs->keys[k]) == 0)
                return err_set(e, ERR_USAGE, "'%s' is given twice", refs->keys[i]);
    return true;
}

int each_pipeline(char *const *scripts, each_one *one, void *arg, struct err *e)
{
    struct keylist refs = {0};
    int status = EXIT_DONE;
    bool ok = pipelines_expand(scripts, &refs, e) && check_twice(&refs, e) && stop_init(e);
    if (!ok)
        status = cli_fail(e);
    if (refs.n > 1)
        log_name_pipelines();
    for (size_t i = 0; ok && i < refs.n && !stop_asked(); i++)
        status = each_worst(status, do_one(refs.keys[i], refs.n > 1, one, arg));
    keylist_free(&refs);
    return status;
}

bool each_option(bool given, const char *option, char *const *scripts, struct err *e)
{
    struct keylist refs = {0};
    bool ok =
        !given || (pipelines_expand(scripts, &refs, e) &&
                   (refs.n <= 1 || err_set(e, ERR_USAGE, "option %s takes one pipeline", option)));
    keylist_free(&refs);
    return ok;
}
