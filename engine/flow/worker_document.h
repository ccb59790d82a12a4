/* worker_document: a row's document, or its delete, added to what a worker collects for its next
 * request or its output.
 *
 * Uses     worker, script, bulk, index (creates an index that a document names), stale_copies.
 * Threads  the worker's.
 */
#pragma once
#include <libpq-fe.h>
#include <stdbool.h>

struct err;
struct worker;

/* Makes the document of a row and writes it directly into the request's body, or into the output;
 * where document() returned nil, adds a delete. False: nothing is added; ERR_FINAL: of this
 * document alone, which the caller rejects, unless it is ERR_FAULT_ACCESS: the user may not use the
 * index that the document names. */
bool worker_add_document(struct worker *w, const PGresult *row, const char *key, struct err *e);
/* Each index that a document names is asked for again: one may be gone. */
void worker_forget_indexes(struct worker *w);
/* The document of that key is to be deleted. */
bool worker_add_delete(struct worker *w, const char *key, struct err *e);
