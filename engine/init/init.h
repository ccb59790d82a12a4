/* init: writes a first script from a live database.
 *
 * Uses     catalog, plan, write, candidates, safe_url, pg_pool, log.
 * Threads  one, the main thread.
 * Promise  nothing is changed in the database, and no file is written: the script goes to standard
 *          output. It holds no password.
 */
#pragma once
#include "init/plan.h"

#include <stdbool.h>

struct err;

/* options->table is NULL: lists the tables instead. */
bool init_print(const char *url, const struct plan_options *options, struct err *e);
