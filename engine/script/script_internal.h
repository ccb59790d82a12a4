/* script_internal: what the files of the module script share; nobody else includes it. */
#pragma once
#include "base/err.h"
#include "script/returns.h"
#include "script/script.h"
#include "script/template.h"

struct script {
    struct sandbox *sandbox;          /* owned */
    const struct script_text *source; /* borrowed */

    struct template *template;      /* owned; NULL: document is a function */
    struct err mistake;             /* of the template; kind ERR_NONE: none */
    const struct pg_columns *bound; /* those that the template is bound to; borrowed */
    bool returned;                  /* a document, or none, has been made once */
    enum returns returns;           /* of document() */
    const struct pg_columns *named; /* those whose names the state keeps; borrowed */
};

/* Pushes what the script's table has as `document`. */
void script_push_document(const struct script *s);
