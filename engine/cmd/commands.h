/* commands: all of them. A new command is a file, its name here, and its row in main.c.
 *
 * Uses     cli.
 */
#pragma once
#include "cmd/cli.h"

extern const struct cli_command cmd_run, cmd_reindex, cmd_state, cmd_diff, cmd_verify, cmd_wait,
    cmd_why, cmd_test, cmd_check, cmd_init;
