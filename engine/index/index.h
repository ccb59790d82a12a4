/* index: the index itself: looked at, created, made to fit, put behind an alias; its documents:
 * counted, fetched, walked through.
 *
 * Uses     es, json, json_tree, mapping, buf, err.
 *
 *     index.c          the index itself: looked at, created, refreshed
 *     index_request.c  what all requests about an index share
 *     index_schema.c   its settings, mapping and note: what the script wants of them
 *     index_alias.c    aliases, and the index that takes another's place
 *     index_read.c     its documents: counted, fetched by key
 *     index_scan.c     the walk over their keys
 *     index_find.c     where a key's documents are, in several indexes and shards
 *
 * Where `index` is said, the name of an index will do, or that of an alias.
 */
#pragma once
#include "index/doc_location.h"
#include "index/index_request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    INDEX_UUID = 64,
    INDEX_FINGERPRINT = 17, /* 64 bits in hex */
    /* bytes of a pipeline's name that are kept: enough to tell it from another */
    INDEX_PIPELINE = 128,
    /* of an index's predecessors that are remembered: a state is seldom older */
    INDEX_PREDECESSORS = 16,
};

struct index_info {
    bool exists;
    /* the name is an alias of several indexes: this is the one that it writes to */
    bool several;
    char name[INDEX_NAME]; /* its own, whatever the alias */
    char uuid[INDEX_UUID]; /* tells this index from another that later bears its name */
    int64_t gc_deletes_ms; /* how long the server remembers a deleted document's version */
};

/* At first contact: that it is a search server which answers, whatever it says of the index. Final:
 * another program does. */
bool index_meet(struct es *es, const char *index, struct err *e);

/* Looks at index; of an alias of several, at its write index, and there must be one. info->exists
 * false: there is none. */
bool index_get_info(struct es *es, const char *index, struct index_info *info, struct err *e);

/* Creates it. settings and mappings: JSON objects, or NULL. index.gc_deletes is set to 1 h unless
 * settings name it. That somebody else was faster is not an error. ERR_USAGE: the server refuses
 * what the script says. */
bool index_create(struct es *es, const char *index, const char *settings, const char *mappings,
                  struct err *e);

bool index_delete(struct es *es, const char *index, struct err *e); /* that there is none is fine */

/* Makes all that was written searchable. ERR_PASSING, too, if a shard failed to. */
bool index_refresh(struct es *es, const char *index, struct err *e);

/* How many documents it has, as far as they are searchable. ERR_PASSING if a shard did not
 * answer. */
bool index_count(struct es *es, const char *index, int64_t *count, struct err *e);

/* ---- whether it fits the script ---- */

/* What we note about an index in its mapping: "_meta": {"etl_engine": {"format":1, "pipeline":..,
 * "fingerprint":.., "version":.., "formers":[..]}}. Whatever else stands in "_meta" is left
 * alone. */
struct index_meta {
    bool known; /* there was such a note */
    char pipeline[INDEX_PIPELINE];
    /* of the script that all its documents were made by; may be empty */
    char fingerprint[INDEX_FINGERPRINT];
    int64_t version; /* the last one issued, when it was written */
    char
        predecessors[INDEX_PREDECESSORS]
                    [INDEX_UUID]; /* the uuids of the indexes whose place it took, the last first */
    size_t n_predecessors;
};

struct index_fit {
    bool added;       /* the mapping lacked something, and has it now */
    bool of_settings; /* ERR_USAGE is about the settings, not the mappings */
    bool filtered;    /* its name is an alias with a filter: searches do not see all of it */
    /* of an index without our note: what it does not have, and cannot get; or empty */
    char lacks[400];
    struct index_meta meta;
};
/* Sees that an existing index has what the script's settings and mappings (JSON, or NULL) name:
 * adds what its mapping lacks, if the server lets it; what cannot be added is ERR_USAGE, with the
 * difference in words. Settings that can be changed are left as they are. An index that somebody
 * else has made (it has no note) may lack settings: then it is left as it is; only a field that
 * both define differently is an error otherwise. */
bool index_fit(struct es *es, const char *index, const char *settings, const char *mappings,
               struct index_fit *fit, struct err *e);
/* What an index's mapping says of a field, such as "actors.id"; a sub-field will do, too. */
struct index_field {
    bool there;
    bool may_come; /* not there, but documents may bring it (dynamic) */
    /* there, but as text without a sub-field for whole values: no key is found in it */
    bool analysed;
    /* not there: the fields at that place, "actors.name, actors.role", or the near one */
    char known[200];
    bool near; /* known is the one that it was meant to be */
};
bool index_look_at_field(struct es *es, const char *index, const char *field,
                         struct index_field *out, struct err *e);
/* Reads the note alone. */
bool index_read_meta(struct es *es, const char *index, struct index_meta *meta, struct err *e);
/* Writes it, beside what the index and the script's mappings (or NULL) have in "_meta" besides. A
 * cluster has to agree on each change of a mapping: not for every batch. index: its own name, or an
 * alias that is swapped meanwhile would have the note of one index go to another. */
bool index_write_meta(struct es *es, const char *index, const char *mappings,
                      const struct index_meta *meta, struct err *e);
/* What makes the index give back other documents than it was sent, as far as its mapping and
 * settings tell, and what helps: for people. */
struct index_other {
    char why[300];
    const char *remedy;
};
void index_why_other(struct es *es, const char *index, struct index_other *o);
struct index_owner {
    char index[INDEX_NAME];
    char pipeline[INDEX_PIPELINE]; /* empty: there is none */
};
/* Finds an index that another pipeline keeps, according to its metadata, among those that `indices`
 * names: one, an alias, or several with * and commas. An index without metadata belongs to no
 * pipeline. */
bool index_find_owner(struct es *es, const char *indices, const char *pipeline,
                      struct index_owner *out, struct err *e);
/* Whether a note with that name of a pipeline is of the pipeline of this name: a note cuts a long
 * one. */
bool index_is_of(const char *noted, const char *pipeline);
/* Whether the index with that note has taken the place of the one with this uuid (NULL: no). */
bool index_is_predecessor(const struct index_meta *meta, const char *uuid);
/* Adds mappings (JSON, or NULL) with the note, for index_create. */
bool index_add_meta(struct buf *out, const char *mappings, const struct index_meta *meta,
                    struct err *e);

/* ---- in place of another ---- */

/* While it is loaded: no refresh, no replicas. Then: as settings (JSON, or NULL) say, or the server
 * does. */
bool index_set_loading(struct es *es, const char *index, bool loading, const char *settings,
                       struct err *e);

/* ---- what it holds ---- */

struct index_document {
    const char *key; /* borrowed, for the time of the call; as is source */
    bool found;
    int64_t version; /* only if found */
    /* its JSON, byte for byte as the server has it, which is as it was sent, unless the index is
     * made to keep something else; NULL if not asked for, not found, or not kept */
    const char *source;
    size_t source_len;
};
/* Told of each document, in the order asked for. False ends the call with what it put into e. */
typedef bool index_visit(const struct index_document *d, void *arg, struct err *e);

struct index_lookup { /* borrowed, for the time of the call */
    const char *const *keys;
    const struct doc_location *locations; /* one for each key; NULL: none has one of its own */
    size_t n;
    bool with_source; /* their JSON, too */
    index_visit *visit;
    void *arg; /* visit's */
};
/* Gets the documents of n keys, whether or not the index was refreshed (realtime). Asks for 500 at a
 * time, or fewer where an answer would be too large. ERR_PASSING: an answer was damaged, reordered
 * or incomplete, or a shard did not answer; no document of that answer was visited, so those that
 * were are the first keys, in order. */
bool index_get_documents(struct es *es, const char *index, const struct index_lookup *lookup,
                         struct err *e);

struct index_copy {          /* borrowed, for the time of the call */
    const char *key, *index; /* the index's own name, whatever alias or pattern was asked */
    const char *routing;     /* NULL: none */
    int64_t version;
};
typedef bool index_copy_visit(const struct index_copy *c, void *arg, struct err *e);

struct index_search { /* borrowed, for the time of the call */
    const char *const *keys;
    size_t n;
    index_copy_visit *visit;
    void *arg; /* visit's */
};
/* Finds every document that has one of n keys, in all indexes that `indices` names and all of their
 * shards: none, one or several for a key, in no order. Refreshes first, so that earlier writes are
 * found. Errors are those of index_get_documents; visit may end the call, too. */
bool index_find(struct es *es, const char *indices, const struct index_search *search,
                struct err *e);

/* a walk over keys, in pages (a scroll); each page keeps the walk alive for 5 more minutes */
struct index_scan;

/* Begins a walk over all documents, or over those that hold one of n values in `field`
 * ("actors.id": nested or not; of analysed text, its first "keyword" sub-field). Refreshes first,
 * if we may: what was written before is seen, what is written later is not. A field that no mapping
 * knows is in no document; one that cannot be searched by whole values is ERR_FINAL. NULL: e says
 * why. es: borrowed; free for other requests between two calls. */
struct index_scan *index_scan_open(struct es *es, const char *index, const char *field,
                                   const char *const *values, size_t n, struct err *e);
/* The next page of keys: *keys, borrowed until the next call; *n 0: the end, reached with as many
 * keys as the server counted. A walk that the server has forgotten, that a shard dropped out of, or
 * that came out short is ERR_PASSING. After any error no page follows: close, and begin anew. */
bool index_scan_next(struct index_scan *s, const char *const **keys, size_t *n, struct err *e);
void index_scan_close(struct index_scan *s); /* tells the server, too; NULL is fine */
