/* check_files: the state, the journal and the dead letters: whether they can be written. */
#include "ask/check_internal.h"
#include "base/file.h"
#include "store/state.h"
#include "store/state_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const int64_t LEAST = 64 << 20; /* bytes: states, and dead letters, of any size so far */

/* The innermost folder of the path that exists; the engine makes those that do not. Owned by the
 * caller; NULL: no memory. */
static char *existing_folder(const char *path)
{
    char *folder = file_folder(path);
    while (folder && access(folder, F_OK) != 0 && strcmp(folder, "/") != 0 &&
           strcmp(folder, ".") != 0) {
        char *above = file_folder(folder);
        free(folder);
        folder = above;
    }
    return folder;
}

static void check_space(struct check *c, const char *folder)
{
    const struct pipeline *p = &c->user.pipeline;
    int64_t needed = LEAST + (p->source.wal ? p->source.journal_limit : 0);
    struct statvfs disk;
    if (statvfs(folder, &disk) != 0 || disk.f_blocks == 0)
        return;
    int64_t left = (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
    if (left < needed) {
        check_add(c, CHECK_WARNING, "disk", check_line(c, "state"),
                  "the disk of '%s' has %lld MB left; state%s may need %lld MB", folder,
                  (long long)(left >> 20), p->source.wal ? " and journal" : "",
                  (long long)(needed >> 20));
        if (p->source.wal)
            check_remedy(c, "journal_limit = %lld in source, or another folder for the state",
                         (long long)(left > 4 * LEAST ? left / 2 : LEAST));
        else
            check_remedy(c, "another folder for the state, or a larger disk");
    }
    if (disk.f_files > 0 && disk.f_favail < 100) {
        check_add(c, CHECK_WARNING, "disk", check_line(c, "state"),
                  "the disk of '%s' has no room for new files (inodes)", folder);
        check_remedy(c, "another folder for the state");
    }
}

static void check_folder(struct check *c, const char *folder)
{
    struct stat is;
    int line = check_line(c, "state");
    if (stat(folder, &is) == 0 && !S_ISDIR(is.st_mode)) {
        check_add(c, CHECK_ERROR, "state_folder", line, "state: '%s' is not a folder", folder);
        check_remedy(c, "state = \"FILE\" in a folder that can be written");
    } else if (access(folder, W_OK | X_OK) != 0) {
        check_add(c, CHECK_ERROR, "state_folder", line, "state: the folder '%s' cannot be written",
                  folder);
        check_remedy(c, "chown it to the user that runs etl-engine");
    } else {
        check_space(c, folder);
    }
}

/* Another pipeline's, or damaged: as a run says it. */
static void check_state(struct check *c)
{
    const struct pipeline *p = &c->user.pipeline;
    struct state_data d;
    struct err e;
    if (!state_file_read(p->state, &d, &e)) {
        check_add_err(c, "state", check_line(c, "state"), &e);
        return;
    }
    if (d.phase != STATE_NEW && d.pipeline && strcmp(d.pipeline, p->name) != 0) {
        check_add(c, CHECK_ERROR, "state", check_line(c, "state"),
                  "state file '%s' belongs to pipeline '%s'", p->state, d.pipeline);
        check_remedy(c, "state = \"FILE\" of its own; or, if it was renamed, run it once with "
                        "--take-over");
    }
    state_data_free(&d);
}

void check_files(struct check *c)
{
    const char *state = c->user.pipeline.state;
    struct stat is;
    if (!state)
        return;
    char *folder = existing_folder(state);
    c->failed |= !folder;
    if (folder && stat(state, &is) == 0 && S_ISDIR(is.st_mode)) {
        check_add(c, CHECK_ERROR, "state", check_line(c, "state"), "state '%s' is a folder", state);
        check_remedy(c, "state = \"%s/state\"", state);
    } else if (folder) {
        check_folder(c, folder);
        if (!check_has(c, "state_folder", ""))
            check_state(c);
    }
    free(folder);
}
