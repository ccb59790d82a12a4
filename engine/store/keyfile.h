/* keyfile: reads keys, one a line, or dead letters.
 *
 * Uses     queue (batches), json, buf, log, err.
 *
 * A line that begins with {"key": is a dead letter, a JSON object whose key it is; each other one
 * is a key as it is, without its line break. Empty lines are passed over, as is, with a warning, a
 * dead letter whose key is empty.
 */
#pragma once
#include <stdbool.h>

struct batch;
struct err;

/* Adds the file's keys to `to`; path "-" is stdin. False: e says why ("FILE:LINE: ..." where a line
 * is damaged), and `to` may hold some of the keys. */
bool keyfile_read(struct batch *to, const char *path, struct err *e);
