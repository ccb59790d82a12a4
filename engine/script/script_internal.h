/* script_internal: what the files of the module script share; nobody else includes it. */
#pragma once
#include "script/projection.h"
#include "script/script.h"

struct script {
    struct sandbox *sandbox;          /* owned */
    const struct script_text *source; /* borrowed */

    /* owned; NULL: document() does more than that, or gave another document */
    struct projection *projection;
    bool proven;   /* it has given the same document once */
    bool returned; /* document() has come to its end once */
    enum projection_returns returns;
    const struct pg_columns *named; /* those whose names the state keeps; borrowed */
};

/* Pushes what the script's table has as `document`. */
void script_push_document(const struct script *s);
