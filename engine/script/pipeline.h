/* pipeline: a script as a checked C struct.
 *
 * Uses     script, script_lines, index_name, lua_json, sqltext, suggest, Lua.
 * Promise  a pipeline is read without Lua: every field is present, known and of the right type;
 *          seconds are finite and at most 1e9, so that microseconds fit an int64_t. Mistakes are
 *          ERR_USAGE: "scripts/movies.lua:7: unknown field 'curser' in source, did you mean
 *          'cursor'?"
 *
 * The fields and their types are one table in pipeline_fields.c; the names are the public
 * interface.
 */
#pragma once
#include "es/es_security.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct script;
struct script_text;

enum { PIPELINE_OBJECT_MAX = 63 }; /* bytes of a name in PostgreSQL, as it is built by default */

struct pipeline_names { /* column names: one, or those of a composite key */
    char **list;        /* owned, each */
    size_t n;
};

struct pipeline_related {
    char *table; /* all owned */
    struct pipeline_names key;
    char *cursor; /* NULL: its changes are not polled, only the sweep finds them */
    /* the table's columns that hold the root's key; n is 0 if it is a query */
    struct pipeline_names affects;
    /* or NULL: $1 (of a composite key: $1, $2, ...) are arrays of its keys */
    char *affects_query;
    char *index_field; /* or NULL */
    /* As in source; that of an affects_query is where its text begins. */
    int table_line, key_line, cursor_line, affects_line, index_field_line;
};

struct pipeline {
    const char *script; /* borrowed: the path, for messages */
    char *name;         /* all owned */
    struct {
        char *url, *table; /* url: NULL: see pipeline_read_offline */
        char *url_place;   /* where that comes from: "source.url (movies.lua:3, variable URL)" */
        struct pipeline_names key;
        char *cursor;             /* NULL: none; always of a pipeline that captures from the log */
        char *query;              /* without a final semicolon */
        bool wal;                 /* changes are captured from the write-ahead log, not polled */
        char *slot, *publication; /* on the server; unquoted */
        int64_t journal_limit;    /* bytes of captured keys that wait; more: a sweep is cheaper */
        double lookback;          /* seconds; negative: not given, see source_rule */
        double horizon_limit;     /* seconds */
        /* Lines of the script; 0: not known. That of the query is where its text begins: line n of
         * what PostgreSQL sees is query_line + n - 1. */
        int query_line, key_line, table_line, cursor_line, url_line;
        int capture_line;
        struct pipeline_related *related;
        size_t n_related;
    } source;
    struct {
        char *url; /* of one node, or of several: see es_url.h; NULL: see pipeline_read_dry */
        char *index;
        char *settings, *mappings; /* JSON objects; NULL: none given */
        /* Where documents may be: index names with * and commas, sink.index among them. */
        char *indices;
        bool multi_index; /* the script gave `indices`: document() may choose index and routing */
        double max_rate;  /* documents a second; 0: any number */
        int compress;     /* 1: yes, -1: no, 0: not given */
        int url_line, index_line, settings_line, mappings_line;
        int64_t batch_bytes;         /* of a request's body: what is collected before it is sent */
        struct es_security security; /* as it is given: see es_security_read */
    } sink;
    char *state; /* likewise */
    int state_line;
    double poll_interval; /* seconds between two looks, with --follow */
    double sweep;         /* seconds between two sweeps, with --follow; 0: none by the clock */
    int64_t max_rejected; /* documents in a run */
};

bool pipeline_read(struct pipeline *p, struct script *s, struct err *e);
/* The same for who writes nowhere: sink.url and state may be missing (NULL); *lacking says which
 * is, or is ERR_NONE. */
bool pipeline_read_dry(struct pipeline *p, struct script *s, struct err *lacking, struct err *e);
/* The same for what asks no server: source.url may be missing, too. */
bool pipeline_read_offline(struct pipeline *p, struct script *s, struct err *lacking,
                           struct err *e);
/* The environment variable that a `url` on that line of the script is read from, into out; NULL:
 * none, as far as the line shows. */
const char *pipeline_variable(const struct script_text *script, int line, char *out, size_t size);
/* Makes e a mistake of the script (ERR_USAGE) and puts "FILE:LINE: " in front of it; without a line
 * (0) "FILE: ". Always false. */
bool pipeline_at_line(struct err *e, const struct pipeline *p, int line);
/* The same with the line of state, if e says that the file is none; other errors stay. */
bool pipeline_at_state(struct err *e, const struct pipeline *p);
/* Another index in the place of sink.index; also in sink.indices, if that is this one alone. */
bool pipeline_set_index(struct pipeline *p, const char *index, struct err *e);
/* "etl_movies", after the pipeline's name: the slot that it has unless its script names one, or is
 * a list. Owned by the caller; NULL: no memory. */
char *pipeline_own_slot(const struct pipeline *p);
void pipeline_free(struct pipeline *p); /* safe on a zeroed struct */

/* Where the documents are, for a message: sink.index, or sink.indices. */
const char *pipeline_place(const struct pipeline *p);
/* Whether a document may go to that index: it is among sink.indices. */
bool pipeline_has_index(const struct pipeline *p, const char *index);
