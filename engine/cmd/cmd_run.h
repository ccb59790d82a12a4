/* cmd_run: the command "run": its options. */
#pragma once
#include "cmd/cli.h"
#include "run/run.h"

struct run_command {    /* filled by cli_parse */
    struct cli_log log; /* first */
    struct run_options run;
    const char *listen; /* an address; NULL: there is no listener */
    long long max_lag;  /* seconds */
};
