/* renewal: what is said of credentials that a server refuses, and whose files are read again: the
 * same words for both servers.
 *
 * Uses     secret_text, alike, err.
 * Threads  any.
 * Promise  no message holds a value.
 */
#pragma once
#include <stdbool.h>

struct err;
struct secret_text;

/* Logs that a file has new ones, which are used from now on. server: "PostgreSQL"; field: what has
 * changed: "source.url"; path: the file, "": one of several. */
void renewal_done(const char *server, const char *field, const char *path);
/* Logs that they cannot be read again. */
void renewal_failed(const struct err *why);
/* The url that was read again (now) leads elsewhere, which takes a restart. Always returns false,
 * ERR_USAGE. */
bool renewal_elsewhere(const char *field, const struct secret_text *now, struct err *e);
