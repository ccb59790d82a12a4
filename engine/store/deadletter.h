/* deadletter: the keys whose documents were rejected, on disk beside the state.
 *
 * Uses     keyset, file, json, buf, err, clock, log.
 * Threads  one, the main thread.
 * Promise  what was added and synced survives a power cut. The file is one JSON object a line,
 *          appended to; when entries have been cleared or replaced, it is replaced as a whole (see
 *          file.h). No entries: no file.
 *
 *     {"key":"025c58cd-...","reason":"mapper_parsing_exception: ...","status":400,
 *      "time":"2026-11-24T12:00:00.000000Z","pipeline":"movies"}
 *
 * A key that is rejected again replaces its entry, which moves to the end: the newest stands last.
 * A line cut short by a full disk or a crash (the last one) is dropped with a warning; any other
 * damaged line is an error with its number, and so is one of another pipeline. In key and reason a
 * byte that is not UTF-8 becomes "?"; a reason is cut at 4,000 bytes.
 *
 * The file is ours while it is open. If it is removed, the next sync writes it anew; if somebody
 * else has written to it, the sync fails (final) rather than undo that.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;
struct keyset;

struct deadletters;

/* Reads what the file has (that there is none is fine: its folder is made, and must be writable).
 * pipeline: copied, goes into each entry. NULL: e says why. */
struct deadletters *deadletters_open(const char *path, const char *pipeline, struct err *e);
void deadletters_close(struct deadletters *d); /* does not sync; NULL is fine */

/* status: of the answer; 0: the script's own error. In memory until the next sync. False (no
 * memory): then no sync succeeds any more, so that no state passes this key. */
bool deadletters_add(struct deadletters *d, const char *key, const char *reason, int status,
                     struct err *e);
/* The key has succeeded. Not being there is fine. */
void deadletters_clear(struct deadletters *d, const char *key);
/* Brings the file up to date and syncs it, if anything changed. Passing: a full disk, and the like;
 * all is still in memory, and the file as whole as it was. */
bool deadletters_sync(struct deadletters *d, struct err *e);

/* Renames the file to `to`, replacing any file there; without entries, removes `to`. Nothing may be
 * synced afterwards: only close. */
bool deadletters_move(struct deadletters *d, const char *to, struct err *e);

const char *deadletters_path(const struct deadletters *d); /* borrowed */
size_t deadletters_count(const struct deadletters *d);
/* The keys, the oldest first: *at begins as 0. False: no more. Borrowed until the next change. The
 * one that was returned may be cleared before the next call; nothing may be added. */
bool deadletters_next(const struct deadletters *d, size_t *at, const char **key);

/* ---- files that are not open ---- */

/* The file that goes with a state file: "STATE.rejected". Owned by the caller. NULL: no memory. */
char *deadletters_default_path(const char *state);
/* Whether the file exists and is not empty. */
bool deadletters_exist(const char *path);
/* Removes the file, if it exists. Errors are ignored. */
void deadletters_discard(const char *path);
