/* write: the plan as a script, which reads as if a person had written it.
 *
 * Uses     plan, buf. Pure: text into a buffer.
 * Promise  the text is a valid Lua script whatever the names and comments in the database are.
 */
#pragma once
#include <stdbool.h>

struct buf;
struct err;
struct plan;

struct write_options {
    const char *url;   /* of the database, without a password */
    bool has_password; /* the user gave one */
};

/* Appends the script to `out`. False: no memory, or the script is longer than out may be. */
bool write_script(struct plan *p, const struct write_options *o, struct buf *out, struct err *e);
