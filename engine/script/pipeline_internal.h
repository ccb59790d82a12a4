/* pipeline_internal: what the files of the module pipeline share; nobody else includes it.
 *
 *     pipeline_fields.c   the table of fields: their names, types, ranges, places
 *     pipeline_mistake.c  messages, with a line and a suggestion
 *     pipeline_read.c     the script's table, field by field, into the struct
 *     pipeline.c          the struct, once it is read
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "script/pipeline.h"
#include "script/script.h"

#include <lua.h>

enum {
    PIPELINE_PATH = 100, /* bytes of "source.related[12345].index_field" */
    PIPELINE_FIELDS = 46,
    PIPELINE_SWEEP_UNSET = -1, /* until it is known what captures the changes */
};

#define PIPELINE_SLOT_LETTERS "abcdefghijklmnopqrstuvwxyz0123456789_"

/* A field's type in the script; then what it is in struct pipeline. */
enum pipeline_type {
    PIPELINE_TEXT,        /* a string that is not empty; char * */
    PIPELINE_EMPTY_TEXT,  /* the same, and may be empty */
    PIPELINE_URLS,        /* a string or a list of strings; char *, joined by commas */
    PIPELINE_QUERY,       /* a string of SQL; char *, without its final semicolon */
    PIPELINE_INDEX,       /* a string that an index may have as its name; char * */
    PIPELINE_CAPTURE,     /* "poll" or "wal"; bool: it is "wal" */
    PIPELINE_SLOT,        /* a string that a replication slot may have as its name; char * */
    PIPELINE_PUBLICATION, /* a string that fits an identifier of PostgreSQL; char * */
    PIPELINE_JSON,        /* a table; char * with its JSON */
    PIPELINE_CHOICE,      /* true or false; int: 1 or -1 */
    PIPELINE_FLAG,        /* true or false; bool, which keeps its value if the field is absent */
    PIPELINE_NUMBER,      /* double */
    PIPELINE_WHOLE,       /* int64_t */
    PIPELINE_COLUMNS,     /* a name, or a list of names; struct pipeline_names */
    PIPELINE_AFFECTS,     /* as many columns as the root's key has, or a query; two fields */
    PIPELINE_FUNCTION,    /* checked only: the module script calls it */
    PIPELINE_DOCUMENT,    /* checked only: a template or a function; absent: every column */
    PIPELINE_GROUP,       /* a table with fields of its own */
    PIPELINE_LIST,        /* of such tables: source.related */
    PIPELINE_EXAMPLES,    /* checked only: the module script_example reads them */
};

enum pipeline_need {
    PIPELINE_OPTIONAL,
    PIPELINE_REQUIRED,
    PIPELINE_TO_WRITE, /* required, but not by a dry run */
    PIPELINE_TO_READ,  /* required, but not by what asks no server */
};

struct pipeline_range {
    double least, most;
    bool above;       /* the least is itself too little */
    double otherwise; /* where the field is absent */
};

struct pipeline_field {
    const char *group; /* of the fields of source.related's elements: "related" */
    const char *name;
    enum pipeline_type type;
    enum pipeline_need need;
    /* in struct pipeline; of group "related", in struct pipeline_related */
    size_t offset;
    size_t line;                        /* the same, of an int with the field's line; 0: none */
    const struct pipeline_range *range; /* of a number */
};
extern const struct pipeline_field pipeline_fields[PIPELINE_FIELDS];

struct pipeline_reading { /* outside of Lua: what it holds survives a raise */
    struct pipeline *p;
    struct script *script;
    const struct script_text *text;
    struct buf json;          /* settings or mappings, while they are encoded */
    const char *encoding;     /* their path, for the encoder's errors; NULL: not encoding */
    char path[PIPELINE_PATH]; /* of the table being read: "source.related[2]"; "" */
    struct err *lacking;      /* NULL: what is needed to write has to be there */
    bool offline;             /* what is needed to read need not be there, either */
    char hint[sizeof((struct err *)NULL)->hint];
};

/* Where a field of source or sink is set, as words for a message: "sink.url (movies.lua:5, variable
 * ELASTICSEARCH_URL)"; unless always, its path alone if it comes from no variable. Owned by the
 * caller; NULL: no memory. */
char *pipeline_describe_field(const struct script_text *script, const char *path, bool always);

/* ---- pipeline_mistake.c; `name` is a field of the table that is being read ---- */

/* The path of a field, "source.cursor", into out. A name that is too long for any field of ours
 * gives the path of the table itself. */
const char *pipeline_join(const struct pipeline_reading *r, const char *name,
                          char out[PIPELINE_PATH]);
/* The line of a field; 0: not known. */
int pipeline_line_of(const struct pipeline_reading *r, const char *name);
/* Raises "FILE:LINE: MESSAGE" with the field's line. */
__attribute__((format(printf, 4, 5))) void pipeline_mistake(lua_State *L,
                                                            const struct pipeline_reading *r,
                                                            const char *name, const char *format,
                                                            ...);
/* The same, with that line; 0: none. */
__attribute__((format(printf, 4, 5))) void pipeline_mistake_at(lua_State *L,
                                                               const struct pipeline_reading *r,
                                                               int line, const char *format, ...);
/* " in source"; "" at the top level. Borrowed: a Lua string on the stack. */
const char *pipeline_within(lua_State *L, const struct pipeline_reading *r);
/* Raises that the value on top of the stack is not what is wanted. */
void pipeline_wrong_type(lua_State *L, const struct pipeline_reading *r, const char *name,
                         const char *wanted);
/* Raises if the table on top of the stack has a field that the group does not know. */
void pipeline_check_names(lua_State *L, const struct pipeline_reading *r, const char *group);
/* Raises that a field is missing, or notes it in r->lacking if it is not needed here. */
void pipeline_missing(lua_State *L, struct pipeline_reading *r, const struct pipeline_field *f);

/* ---- pipeline_read.c ---- */

/* A body for script_call: reads the script's table. arg: a struct pipeline_reading. */
int pipeline_read_body(lua_State *L);
