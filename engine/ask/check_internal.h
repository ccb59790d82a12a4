/* check_internal: what the files of the module check share; nobody else includes it. */
#pragma once
#include "ask/check.h"
#include "base/buf.h"
#include "base/err.h"
#include "index/index.h"
#include "model/keylist.h"
#include "run/run_script.h"
#include "run/run_servers.h"

enum check_severity { CHECK_NOTE, CHECK_WARNING, CHECK_ERROR };

struct check_finding {
    enum check_severity severity;
    const char *name; /* of what was checked, for programs: "cursor_index"; static */
    int line;         /* of the script; 0: none */
    char *text;       /* owned */
    char *remedy;     /* owned; NULL: none is known */
};

struct check { /* of one script */
    const char *path;
    const struct check_options *options;
    struct check_finding *findings; /* owned */
    size_t n, cap, printed;
    size_t counts[3];     /* by severity */
    bool fresh;           /* the last finding was new */
    bool failed;          /* no memory */
    const char *diverted; /* the name for log lines that are caught; NULL: they are dropped */

    struct run_script user;
    bool script_ok;
    struct run_servers servers;
    struct pg *pg;     /* owned; NULL: PostgreSQL is not asked, or cannot be */
    bool bound;        /* user.source is open */
    bool whole;        /* the query is run whole for each batch of keys */
    bool search;       /* the search server answers */
    bool has_examples; /* and they were tried */
    struct index_info index;
    bool lacks_chosen;     /* the user lacks privileges on what sink.indices may name */
    struct keylist chosen; /* then: the indexes that documents have chosen, and that were checked */
};

/* ---- check_finding.c ---- */

/* Adds a finding; a text that begins with "SCRIPT:LINE: " (line 0) loses that. */
void check_add(struct check *c, enum check_severity severity, const char *name, int line,
               const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The remedy of the finding that was added last. */
void check_remedy(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds an error as a finding: its text, and its hint as the remedy. */
void check_add_err(struct check *c, const char *name, int line, const struct err *e);
/* Whether a finding of that name has a text that begins with this. */
bool check_has(const struct check *c, const char *name, const char *text);
/* Lines that are logged from now on become findings of that name: a warning of a warning, a note of
 * the rest. NULL: they are dropped. */
void check_divert(struct check *c, const char *name);
/* Prints the findings that were not printed yet. */
void check_print(struct check *c);
/* The line of a field of the script, as "sink.mappings.properties.title"; 0: not known. */
int check_line(const struct check *c, const char *path);

/* ---- subjects: each adds findings ---- */

void check_script(struct check *c);     /* needs c->script_ok, as all below */
void check_files(struct check *c);      /* likewise */
void check_source(struct check *c);     /* opens c->pg and binds the script */
void check_tables(struct check *c);     /* needs c->bound */
void check_plans(struct check *c);      /* likewise */
void check_capture(struct check *c);    /* likewise */
void check_index(struct check *c);      /* opens c->servers.es */
void check_privileges(struct check *c); /* needs c->index */
void check_blocks(struct check *c);     /* needs c->index, of an index that exists */
void check_ingest(struct check *c);     /* likewise */
void check_documents(struct check *c);  /* needs c->bound */

/* Whether the user lacks privileges on an index that a document chooses. */
void check_chosen(struct check *c, const char *index);

/* ---- SQL ---- */

struct check_sql {
    const char *name; /* of what is checked */
    const char *sql;
    size_t columns;
    const char *parameters[2]; /* the first NULL ends them */
};
/* Runs it: its rows, owned by the caller. NULL: it failed, which is a finding. */
PGresult *check_query(struct check *c, const struct check_sql *q);
/* Adds the server's "permission denied" as a finding, with the GRANT; false: e is about something
 * else. */
bool check_add_denied(struct check *c, int line, const struct err *e);
