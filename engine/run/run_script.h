/* run_script: the user's file as a run needs it: read, run once, checked, and bound to the
 * database.
 *
 * Uses     script, pipeline, fingerprint, source, log.
 * Threads  one, the main thread; the workers read it while they run.
 */
#pragma once
#include "script/fingerprint.h"
#include "script/pipeline.h"
#include "script/script.h"
#include "source/source.h"

#include <stdbool.h>
#include <stdint.h>

struct err;
struct pg_pool;

struct run_script { /* safe when zeroed; all owned */
    struct script_text text;
    struct script *script;
    struct pipeline pipeline;
    struct source source; /* filled by run_bind_script */
    char fingerprint[FINGERPRINT_TEXT];
};

/* Reads and checks the script at path. On failure s may hold a part: run_close_script frees it. */
bool run_open_script(struct run_script *s, const char *path, struct err *e);
/* The same, of one that is opened to run elsewhere: see script_open_again. */
bool run_look_at_script(struct run_script *s, const char *path, struct err *e);
/* The same for a dry run: fields that only writing needs may be missing, which is a warning. */
bool run_open_script_dry(struct run_script *s, const char *path, struct err *e);
/* Binds a script to the database: its tables, and the columns of its query. *expected: how many
 * documents there will be, about; 0: not known. */
bool run_bind_script(struct run_script *s, struct pg_pool *pool, int64_t *expected, struct err *e);
void run_close_script(struct run_script *s); /* safe on a zeroed struct */
/* Whether --follow could ever see a change: by a cursor, or by sweeps. False: ERR_USAGE. */
bool run_can_follow(const struct pipeline *p, struct err *e);
