/* secret: a value that is given by name, so that it is not written where others can read it.
 *
 * Uses     file, buf, text, err, log.
 * Threads  any; they read the environment. What was read from files is kept under a lock.
 * Promise  no message holds the value.
 *
 * The secret NAME is the first of these that exists:
 *
 *     the environment variable NAME
 *     the content of the file that the variable NAME_FILE names, as in images for Docker and
 *     Kubernetes
 *     the content of the file "name", in lower case, in the folder $CREDENTIALS_DIRECTORY, as of
 *     systemd's LoadCredential=
 *
 * An empty variable does not count. A line break at the end of a file is not part of the value.
 */
#pragma once
#include "base/buf.h"

#include <stdbool.h>

struct err;

enum { SECRET_MAX = 1 << 16 }; /* bytes; the longest tokens have a few kilobytes */

/* Adds the secret to out, whose ceiling is SECRET_MAX or more. *found: it exists. False, ERR_USAGE:
 * both variables are set, or the file cannot be read, is empty, or has a zero byte. Warns once of a
 * file that every user can read. */
bool secret_read(const char *name, struct buf *out, bool *found, struct err *e);

/* The same for a secret that is used as a file, such as a certificate: adds its path, which NAME or
 * NAME_FILE holds. The file is checked as by secret_check_file. */
bool secret_path(const char *name, struct buf *out, bool *found, struct err *e);

/* Checks that the path is a file that can be read and is not empty. what: "sink.ca", for the
 * message. */
bool secret_check_file(const char *what, const char *path, struct err *e);

/* The path of the file that the secret is read from, into out. False: it is not read from a
 * file. */
bool secret_file(const char *name, char *out, size_t size);

/* Where the secret is found, as words for a message: "file '/run/secrets/key'", "variable KEY"; a
 * path that is too long is cut. False: nowhere. */
bool secret_place(const char *name, char *out, size_t size);

/* Calls visit for each secret that this process has read from a file, with the value that was read
 * last. Pipes are left out: they cannot be read again. False: a visit was. visit must not read
 * secrets. */
bool secret_each_reading(bool (*visit)(void *arg, const char *name, const char *value), void *arg);
