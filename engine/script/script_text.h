/* script_text: the text of a script's file.
 *
 * Uses     buf, file, sandbox_stdlib (what a UTF-16 file begins with).
 * Threads  one reads it; then all may share it.
 */
#pragma once
#include "base/buf.h"

#include <stdbool.h>

struct err;

struct script_text {
    char *path; /* owned */
    struct buf text;
};

/* Reads the file. False, ERR_USAGE: it cannot be read. */
bool script_text_read(struct script_text *t, const char *path, struct err *e);
void script_text_free(struct script_text *t); /* safe on a zeroed struct */
