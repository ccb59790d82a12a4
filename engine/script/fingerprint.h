/* fingerprint: a hash of what in a script determines its documents, to tell whether an index was
 * filled by this script or an earlier one.
 *
 * Uses     script, pipeline, hash, Lua.
 *
 * Two halves. The first is of what documents are made of: the query, the key, a template's
 * fields and columns, and the source text of document() (or of a template's functions) and of the
 * script's own functions that it calls; not modules that it requires, nor
 * values, which may differ from run to run. The second is of settings and mappings. A sweep brings
 * documents up to date with the first; only to load everything does with both, because a field that
 * was added to a mapping is in no document that was there before.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct err;
struct pipeline;
struct script;

enum { FINGERPRINT_HALF = 8, FINGERPRINT_TEXT = 17 };

/* 16 hex digits into out. */
bool fingerprint_read(struct script *s, const struct pipeline *p, char out[FINGERPRINT_TEXT],
                      struct err *e);
