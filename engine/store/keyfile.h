/* keyfile: reads a file of keys, one per line, or a dead-letter file.
 *
 * Uses     batch, json, buf, alike, err.
 * Threads  one.
 *
 * A line that begins with {"key": is a dead letter: a JSON object with the key. Every other line is
 * a key as it is, without its line break. Empty lines are skipped; so is, with a warning, a dead
 * letter whose key is empty.
 */
#pragma once
#include <stdbool.h>

struct batch;
struct err;

/* Adds the file's keys to `to`; path "-" is stdin. False: e says why, as "FILE:LINE: ..." if a line
 * is damaged, and `to` may have some of the keys. */
bool keyfile_read(struct batch *to, const char *path, struct err *e);
