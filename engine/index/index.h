/* index: an index: its settings, mapping and metadata; its documents: counted, read by key,
 * scanned.
 *
 * Uses     es, json, json_tree, mapping, buf, err.
 *
 *     index.c          the index itself: inspected, created, deleted, refreshed
 *     index_request.c  what all requests about an index share
 *     index_schema.c   its settings, mapping and metadata, compared with the script's
 *     index_simulate.c what the server would say of a new index
 *     index_access.c   what stands between a user and an index: privileges, blocks
 *     index_alias.c    aliases, and an index that replaces another
 *     index_read.c     its documents: counted, read by key
 *     index_scan.c     the scan of all keys, or of some
 *     index_find.c     where the documents of a key are, in several indexes and shards
 *
 * `index` is the name of an index or of an alias. Unless stated otherwise, errors are those of
 * es_request and es_check.
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
    /* bytes of a pipeline's name that are kept, with the final zero */
    INDEX_PIPELINE = 128,
    /* how many of an index's predecessors are remembered: a state file is seldom older */
    INDEX_PREDECESSORS = 16,
};

struct index_info {
    bool exists;
    /* the name is an alias of several indexes: this is its write index */
    bool several;
    char name[INDEX_NAME]; /* the index's own name, even if asked by an alias */
    char uuid[INDEX_UUID]; /* distinguishes this index from a later one with the same name */
    int64_t gc_deletes_ms; /* how long the server remembers the version of a deleted document */
};

/* At first contact, checks that a search server answers, whatever it says of the index. Final:
 * another program answers. */
bool index_meet(struct es *es, const char *index, struct err *e);

/* Reads what the server says of an index; for an alias of several, of its write index, which must
 * exist. info->exists is false if there is none. */
bool index_get_info(struct es *es, const char *index, struct index_info *info, struct err *e);

/* Creates an index. settings and mappings: JSON objects, or NULL. index.gc_deletes is set to 1 h
 * unless settings name it. An index that exists by now is not an error. ERR_USAGE: the server
 * refuses what the script says. */
bool index_create(struct es *es, const char *index, const char *settings, const char *mappings,
                  struct err *e);

/* an index that does not exist is fine */
bool index_delete(struct es *es, const char *index, struct err *e);

/* Makes everything written so far searchable. ERR_PASSING if a shard failed. */
bool index_refresh(struct es *es, const char *index, struct err *e);

/* Counts the searchable documents. ERR_PASSING if a shard did not answer. */
bool index_count(struct es *es, const char *index, int64_t *count, struct err *e);

/* ---- comparing it with the script ---- */

/* Our metadata about an index, kept in its mapping: "_meta": {"etl_engine": {"format":1,
 * "pipeline":.., "fingerprint":.., "version":.., "formers":[..]}} (formers: the predecessors). All
 * else in "_meta" is left alone. */
struct index_meta {
    bool known; /* the index has such metadata */
    char pipeline[INDEX_PIPELINE];
    /* of the script that made all of its documents; may be empty */
    char fingerprint[INDEX_FINGERPRINT];
    int64_t version; /* the last version issued when this was written */
    /* the uuids of the indexes that it replaced, the last one first */
    char predecessors[INDEX_PREDECESSORS][INDEX_UUID];
    size_t n_predecessors;
};

struct index_fit {
    bool added;         /* something was missing in the mapping, and was added */
    bool of_settings;   /* ERR_USAGE is about the settings, not the mappings */
    bool filtered;      /* its name is an alias with a filter: searches do not see all documents */
    bool needs_routing; /* its mapping refuses documents without a routing */
    /* of an index without our metadata: what is missing and cannot be added; or empty */
    char lacks[400];
    struct index_meta meta;
};
#define INDEX_ROUTING_HINT "let document() return a routing, and set sink.indices"
/* Compares an existing index with the script's settings and mappings (JSON, or NULL), and adds to
 * its mapping what is missing, if the server accepts it. ERR_USAGE: something cannot be added, with
 * the difference in words. Settings that can be changed are left as they are. An index of another
 * program (without our metadata) may lack settings and fields, and is then left as it is; only a
 * field that both define differently is an error. */
bool index_fit(struct es *es, const char *index, const char *settings, const char *mappings,
               struct index_fit *fit, struct err *e);
/* The same without changing anything. fit->lacks: what the index cannot be given, in words; added:
 * a run would add to its mapping. */
bool index_compare(struct es *es, const char *index, const char *settings, const char *mappings,
                   struct index_fit *fit, struct err *e);
/* Asks the server whether it would create an index with these, without creating it. ERR_USAGE: it
 * refuses; e says why. A server that does not tell counts as one that would. */
bool index_simulate(struct es *es, const char *settings, const char *mappings, struct err *e);
/* Which privileges a user lacks, in the words of the server: "write, create_index". Empty: none, or
 * the server does not tell. Nothing is changed, and no index is created. */
struct index_privileges {
    char missing[300]; /* on the index */
    char cluster[100]; /* on the cluster, for requests about the index: of OpenSearch alone */
};
struct index_use {
    const char *index; /* borrowed: one, or a pattern: then for each index that it may name */
    bool creates;      /* it does not exist yet, or not each of those */
    bool refreshes;
};
bool index_missing_privileges(struct es *es, const struct index_use *use,
                              struct index_privileges *out, struct err *e);

/* What keeps requests out of the indexes that `indices` names: one, or several with * and
 * commas. */
struct index_block {
    size_t n;               /* that many are closed or blocked; of the first one: */
    char index[INDEX_NAME]; /* its own name */
    char setting[40];       /* "index.blocks.write"; empty: it is closed */
};
bool index_find_block(struct es *es, const char *indices, struct index_block *out, struct err *e);
/* Appends an index's mapping as JSON. */
bool index_add_mapping(struct es *es, const char *index, struct buf *out, struct err *e);
/* What an index's mapping says of a field, such as "actors.id", or of a sub-field. */
struct index_field {
    bool exists;
    bool may_come; /* it does not exist, but documents may add it (dynamic) */
    /* it exists, but as text without a sub-field for whole values: no key is found in it */
    bool analysed;
    /* it does not exist: the fields at that level, "actors.name, actors.role", or the similar
     * one */
    char known[200];
    bool is_near; /* known is the field that was probably meant */
};
bool index_get_field(struct es *es, const char *index, const char *field, struct index_field *out,
                     struct err *e);
/* Reads the metadata. */
bool index_read_meta(struct es *es, const char *index, struct index_meta *meta, struct err *e);
/* Writes the metadata, and keeps what the index and the script's mappings (or NULL) have in "_meta"
 * otherwise. A cluster has to agree on each change of a mapping, so do not call it for every batch.
 * index: the index's own name, since an alias may be swapped meanwhile. */
bool index_write_meta(struct es *es, const char *index, const char *mappings,
                      const struct index_meta *meta, struct err *e);
/* Explains why an index returns documents otherwise than they were sent, as far as its mapping and
 * settings show, and what helps. */
struct index_other {
    char why[300];
    const char *remedy;
};
void index_why_other(struct es *es, const char *index, struct index_other *o);
/* The ingest pipelines that the index names; empty: none. */
struct index_ingest {
    char first[INDEX_NAME], last[INDEX_NAME]; /* index.default_pipeline, index.final_pipeline */
};
bool index_get_ingest(struct es *es, const char *index, struct index_ingest *out, struct err *e);
/* Adds "NAME=UUID," to out for each index that `indices` names: several with * and commas. */
bool index_list(struct es *es, const char *indices, struct buf *out, struct err *e);

struct index_owner {
    char index[INDEX_NAME];
    char pipeline[INDEX_PIPELINE]; /* empty: there is none */
};
/* Finds an index that another pipeline keeps, according to its metadata, among those that `indices`
 * names: one, an alias, or several with * and commas. An index without metadata belongs to no
 * pipeline. */
bool index_find_owner(struct es *es, const char *indices, const char *pipeline,
                      struct index_owner *out, struct err *e);
/* Whether metadata with this pipeline name belongs to `pipeline`: a long name is cut in
 * metadata. */
bool index_is_of(const char *name, const char *pipeline);
/* Whether the index with this metadata has replaced the one with this uuid (NULL: no). */
bool index_is_predecessor(const struct index_meta *meta, const char *uuid);
/* Appends mappings (JSON, or NULL) with the metadata, for index_create. */
bool index_add_meta(struct buf *out, const char *mappings, const struct index_meta *meta,
                    struct err *e);

/* ---- loading ---- */

/* While an index is loaded, it has no refresh and no replicas; afterwards, what settings (JSON, or
 * NULL) or the server's defaults say. */
bool index_set_loading(struct es *es, const char *index, bool loading, const char *settings,
                       struct err *e);

enum { INDEX_SETTINGS_LEFT = 400 }; /* bytes with the final zero */

struct index_succession {  /* borrowed */
    const char *from, *to; /* an index, and the one that takes its place */
    const char *settings;  /* of the script (JSON), or NULL */
};
/* Writes the names of the settings of the one index that neither the other nor the script has: see
 * settings_left. Empty: there are none. */
bool index_find_settings_left(struct es *es, const struct index_succession *s,
                              char out[INDEX_SETTINGS_LEFT], struct err *e);

/* ---- its documents ---- */

struct index_document {
    const char *key; /* borrowed, for the time of the call; as is source */
    bool found;
    int64_t version; /* only if found */
    /* its JSON, byte for byte as it was sent, unless the index stores something else; NULL if not
     * requested, not found, or not stored */
    const char *source;
    size_t source_len;
    const char *routing; /* that it has, if its source was requested; NULL: none */
};
/* Called for each document, in the order of the keys. False ends the call with what it put into
 * e. */
typedef bool index_visit(const struct index_document *d, void *arg, struct err *e);

struct index_lookup { /* borrowed, for the time of the call */
    const char *const *keys;
    const struct doc_location *locations; /* one for each key; NULL: none has one of its own */
    size_t n;
    bool with_source; /* their JSON, too */
    /* an index that a location names need not exist: it has no documents then; else that is
     * ERR_PASSING */
    bool may_be_absent;
    index_visit *visit;
    void *arg; /* visit's */
};
/* Gets the documents of n keys, whether or not the index was refreshed (realtime). Asks for 500 at
 * a time, or fewer where an answer would be too large. ERR_PASSING: an answer was damaged,
 * reordered or incomplete, or a shard did not answer; no document of that answer was visited, so
 * those that were are the first keys, in order. */
bool index_get_documents(struct es *es, const char *index, const struct index_lookup *lookup,
                         struct err *e);

struct index_copy {          /* borrowed, for the time of the call */
    const char *key, *index; /* the index's own name, whatever alias or pattern was requested */
    const char *routing;     /* NULL: none */
    int64_t version;
};
/* Called for each document found. False ends the call with what it put into e. */
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

/* a scan over keys, in pages (a scroll); each page keeps it alive for 5 more minutes */
struct index_scan;

/* Begins a scan of all documents (field NULL), or of those with one of n values in `field`
 * ("actors.id": nested or not; of analysed text, its first "keyword" sub-field). Refreshes first,
 * if we have the privilege: earlier writes are seen, later ones are not. A field that no mapping
 * has is in no document; one that cannot be searched by whole values is ERR_FINAL. NULL: e says
 * why. es: borrowed; free for other requests between two calls. */
struct index_scan *index_scan_open(struct es *es, const char *index, const char *field,
                                   const char *const *values, size_t n, struct err *e);
/* The same for all documents in a random order. */
struct index_scan *index_scan_open_random(struct es *es, const char *index, struct err *e);
/* The same for those that have a `_routing`: a key comes once for each copy that has one. */
struct index_scan *index_scan_open_routed(struct es *es, const char *index, struct err *e);
int64_t index_scan_total(const struct index_scan *s); /* how many it has: the server's count */
/* Returns the next page of keys. *keys: borrowed until the next call; *n is 0 at the end, which is
 * reached with as many keys as the server counted. ERR_PASSING: the server has dropped the scan, a
 * shard failed, or keys were missing. After any error there is no further page: close, and start
 * again. */
bool index_scan_next(struct index_scan *s, const char *const **keys, size_t *n, struct err *e);
void index_scan_close(struct index_scan *s); /* ends it at the server, too; NULL is fine */
