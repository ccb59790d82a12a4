/* deadletter: the keys whose documents were rejected, in a file of their own.
 *
 * Uses     atomic_file, file, keyset, json, buf, clock, err, log.
 * Threads  one, the main thread.
 * Promise  an entry that was added and synced survives a power cut. New entries are appended; when
 *          entries have been cleared or replaced, the file is replaced as a whole. Without entries
 *          there is no file.
 *
 * The file has one JSON object per line:
 *
 *     {"key":"025c58cd-...","reason":"mapper_parsing_exception: ...","status":400,
 *      "time":"2026-11-24T12:00:00.000000Z","pipeline":"movies"}
 *
 * A key that is rejected again replaces its entry, which moves to the end: the newest entry is the
 * last one. If the last line is incomplete, after a full disk or a crash, it is dropped with a
 * warning. Any other damaged line is an error that names it, and so is a line of another pipeline.
 * In key and reason, each byte that is not UTF-8 becomes "?"; a reason is cut after 4,000 bytes.
 *
 * An open file belongs to this process. If somebody removes it, the next sync writes it again; if
 * somebody else has written to it, the sync fails (ERR_FINAL), so that their lines are not lost.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct deadletters;

/* Reads the file, if there is one; makes its folders, and checks that they can be written.
 * pipeline: copied; part of each entry. NULL: e says why. */
struct deadletters *deadletters_open(const char *path, const char *pipeline, struct err *e);
void deadletters_close(struct deadletters *d); /* does not sync; NULL is fine */

/* Adds an entry, in memory until the next sync. status: of the server's answer; 0: the script's own
 * error. False: no memory; from then on every sync fails, so that no state passes this key. */
bool deadletters_add(struct deadletters *d, const char *key, const char *reason, int status,
                     struct err *e);
/* Removes the entry of a key that has succeeded, if there is one. */
void deadletters_clear(struct deadletters *d, const char *key);
/* Writes all changes to the file and syncs it. ERR_PASSING: a full disk, and the like; everything
 * is still in memory, and the file is as complete as before. */
bool deadletters_sync(struct deadletters *d, struct err *e);
/* Renames the file to `to`, replacing any file there; without entries, removes `to`. Nothing may be
 * synced afterwards: only close. */
bool deadletters_move(struct deadletters *d, const char *to, struct err *e);

const char *deadletters_path(const struct deadletters *d); /* borrowed */
size_t deadletters_count(const struct deadletters *d);
/* Differs after a change. */
uint64_t deadletters_changes(const struct deadletters *d);
/* The keys, the oldest first: *at begins as 0. False: there are no more. key: borrowed until the
 * next change. The key that was returned may be cleared before the next call; nothing may be
 * added. */
bool deadletters_next(const struct deadletters *d, size_t *at, const char **key);
/* The same with the key's entry, as JSON. */
bool deadletters_next_line(const struct deadletters *d, size_t *at, const char **key,
                           const char **line);

/* ---- files that are not open ---- */

/* Reads the file, which may belong to another process: nothing may be added, cleared or synced, and
 * an incomplete last line is passed over. Without a file there are no entries. NULL: e says why. */
struct deadletters *deadletters_read(const char *path, const char *pipeline, struct err *e);
/* The entry of a key, as JSON: borrowed until the next change. NULL: there is none. */
const char *deadletters_find(const struct deadletters *d, const char *key);

/* The file that goes with a state file: "STATE.rejected". Owned by the caller. NULL: no memory. */
char *deadletters_default_path(const char *state);
/* Whether the file exists and is not empty. */
bool deadletters_exist(const char *path);
/* Removes the file, if it exists. Errors are ignored. */
void deadletters_discard(const char *path);
