/* es_warning: what the search server warns of, mostly things that its next version refuses: the
 * Warning headers of its answers.
 *
 * Uses     alike, log, text, err.
 * Threads  any; one mutex, never held while calling other modules.
 * Promise  each kind of warning is logged once, and ES_WARNINGS kinds at most, whatever the server
 *          sends. A header that cannot be read is ignored.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;
struct es_warnings;

enum { ES_WARNINGS = 20, ES_WARNING_TEXT = 300 };

struct es_warnings *es_warnings_new(struct err *e); /* NULL: no memory */
void es_warnings_free(struct es_warnings *w);       /* NULL is fine */

/* Logs the warnings of a header's value whose kinds are new. node: the server's URL. */
void es_warnings_tell(struct es_warnings *w, const char *value, size_t len, const char *node);

/* Reads the next warning, `299 AGENT "TEXT" "DATE"`, and moves *at behind it. out: the text if its
 * code is 299, cut at a character; else empty. False: there is none, or it cannot be read. */
bool es_warning_next(const char **at, const char *end, char out[ES_WARNING_TEXT]);
