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
    char *path; /* owned: of the file */
    char *ref;  /* owned: as the user names it: the path, or PATH#NAME */
    /* borrowed from ref: of a script that returns several pipelines, the name of the one that is
     * meant; NULL: none is named */
    const char *name;
    size_t entry; /* its place in the list, from 1; 0: the script is one pipeline: script_choose */
    struct buf text;
};

enum { SCRIPT_TEXT_PATH = 200 };
/* The path of a field within the file, "[2].source.cursor" of the list's second pipeline, for
 * script_lines.h. Borrowed from path or out. */
const char *script_text_field(const struct script_text *t, const char *path,
                              char out[SCRIPT_TEXT_PATH]);

/* Reads the file. ref: see there. False, ERR_USAGE: it cannot be read. */
bool script_text_read(struct script_text *t, const char *ref, struct err *e);
void script_text_free(struct script_text *t); /* safe on a zeroed struct */
