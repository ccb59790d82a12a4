/* pipeline: a script as a checked C struct.
 *
 * Uses     script, encode, fieldline, sqltext, suggest, Lua.
 * Promise  whoever holds a pipeline needs no Lua to read it: every field is there, known, and of its type.
 *          Mistakes are ERR_USAGE:
 *          "scripts/movies.lua:7: unknown field 'curser' in source, did you mean 'cursor'?"
 *
 * The fields and their types stand in one table in pipeline.c; the names are the public interface (design,
 * section 3).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;
struct script;

struct pipeline_related {
    char *table, *key, *cursor, *affects, *index_field; /* owned; cursor and index_field may be NULL */
    bool affects_is_query;
};

struct pipeline {
    const char *script; /* borrowed: the path, for messages */
    char *name;         /* all owned */
    struct {
        char *url, *table, *key;
        char *cursor; /* NULL: none, so every run reads everything */
        char *query;  /* without a final semicolon */
        /* Lines of the script; 0: not known. That of the query is where its text begins: line n of what
         * PostgreSQL sees is query_line + n - 1. */
        int query_line, key_line, table_line, cursor_line, url_line;
        struct pipeline_related *related;
        size_t n_related;
    } source;
    struct {
        char *url, *index;
        char *settings, *mappings; /* JSON objects; NULL: none given */
        int url_line, index_line;
    } sink;
    char *state;
};

bool pipeline_read(struct pipeline *p, struct script *s, struct err *e);
void pipeline_free(struct pipeline *p); /* bears a zeroed struct */
