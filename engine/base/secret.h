/* secret: a value that is given by name, and not written where others would read it.
 *
 * Uses     buf, err, log.
 * Promise  no message holds the value.
 *
 * The secret NAME is, the first of these that is there:
 *
 *     the environment variable NAME
 *     what is in the file that the variable NAME_FILE names (as Docker's and Kubernetes' images
 *     have it) what is in the file "name", in lower case, in the folder $CREDENTIALS_DIRECTORY
 *     (systemd's LoadCredential=)
 *
 * An empty variable counts as none. A file's final line break does not belong to it.
 */
#pragma once
#include "base/buf.h"

#include <stdbool.h>

struct err;

enum { SECRET_MAX = 1 << 16 }; /* bytes: the longest tokens have some kilobytes */

/* Adds the secret to out, whose ceiling is SECRET_MAX or more. *found false: there is none. False,
 * ERR_USAGE: variable and file are both given; the file cannot be read, is empty, or holds a zero
 * byte. Warns of a file that everybody may read. */
bool secret_read(const char *name, struct buf *out, bool *found, struct err *e);

/* The same for what is a file by its nature, such as a certificate: adds the path. NAME and
 * NAME_FILE both hold it, then. The file is looked at. */
bool secret_path(const char *name, struct buf *out, bool *found, struct err *e);

/* That the path is a file, which is not empty and may be read. what: "sink.ca", for the message. */
bool secret_check_file(const char *what, const char *path, struct err *e);
