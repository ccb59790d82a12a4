/* wal_keys: which keys a change in the log announces.
 *
 * Uses     pgoutput (events), key, buf, err. No connection: events in, keys out.
 * Threads  one.
 * Promise  a change of a table that is followed announces every document that it can be known to
 *          affect: by the new row, and by the old one as far as the log has it.
 *
 * The rules, for each table of the script that an event's relation is (one relation may be
 * several, such as a root that a related table names again):
 *
 *   root               the key of the new row, and that of the old one
 *   affects = columns  their values in the new row and in the old one: the root's key
 *   affects = query    the table's own key, old and new: the query tells the root's keys later
 *   index_field        the table's own key, too, where the log does not have the old row's columns:
 *                      the index is asked which documents still have the row
 *   TRUNCATE           everything: a sweep
 *
 * A relation is a table of the script if it has its oid or its name: a table may have been renamed,
 * or dropped and made again, between the change and now. Tables that inherit from it count, too.
 *
 * An old row is in the log whole with REPLICA IDENTITY FULL; else only its identity's columns are,
 * and only if one of them changed or the row was deleted. A column whose old value is not in the
 * log is passed over: a sweep finds what that hides. A value of the new row that is not in the log
 * (large, and unchanged) is taken from the old one, or the table's key takes its place.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct pgoutput_event;
struct wal_keys;

enum wal_kind {
    WAL_ROOT = 1, /* a key of the root */
    WAL_RELATED,  /* a key of the related table `table` */
    WAL_SWEEP,    /* no key: anything may have changed */
    WAL_POSITION, /* no key: the log has nothing of ours up to there */
    WAL_GAP,      /* no key: what the log had before may be missing */
};

struct wal_names { /* columns, unquoted */
    const char *const *list;
    size_t n;
};

struct wal_table {
    const uint32_t *oids;      /* of the table, and of those that inherit from it */
    size_t n_oids;             /* 0: not known */
    const char *schema, *name; /* unquoted */
    bool is_root;
    struct wal_names key;
    struct wal_names affects; /* n 0: none; of a related table: it is a query */
    bool asks_index;          /* it has an index_field */
};

/* What wal_keys_event announces. table: the number that wal_keys_add gave; key: NULL for a sweep;
 * borrowed. False: e says why; it ends the event. */
typedef bool wal_announce(void *arg, enum wal_kind kind, size_t table, const char *key,
                          struct err *e);

struct wal_keys *wal_keys_new(void); /* NULL: no memory */
void wal_keys_free(struct wal_keys *k);
/* Adds a table, copied: numbers begin with 0. */
bool wal_keys_add(struct wal_keys *k, const struct wal_table *table, struct err *e);

/* A RELATION, INSERT, UPDATE, DELETE or TRUNCATE; other events announce nothing. False, ERR_FINAL:
 * a change of a relation that was not described. */
bool wal_keys_event(struct wal_keys *k, const struct pgoutput_event *event, wal_announce *announce,
                    void *arg, struct err *e);
/* Another connection describes the relations again. */
void wal_keys_forget(struct wal_keys *k);
/* Whether a relation lacks a column of the script: its changes announce a sweep, as their keys are
 * not known. *e: which one, with ERR_FAULT_SCHEMA. */
bool wal_keys_is_outdated(const struct wal_keys *k, struct err *e);
