/* source_capture: what capturing changes from the write-ahead log needs on the server: a
 * publication of the script's tables, and a slot.
 *
 * Uses     source, pg, log.
 * Threads  one, the main thread.
 * Promise  nothing that is made here breaks a user's write: a table whose rows have no replica
 *          identity, and which would refuse UPDATE and DELETE once it is published, is not
 *          published. A slot is made before any row is read. What cannot be made for want of a
 *          privilege or a setting is ERR_USAGE, with the SQL to run.
 *
 *     source_capture_check(s, pg, e)                    // settings, tables; warns
 *     source_capture_publish(s, pg, &names, &published, e)
 *     source_capture_find_slot(pg, names.slot, &slot, e)
 *     source_capture_make_slot(pg, names.slot, e)       // waits for open transactions
 */
#pragma once
#include "model/keylist.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct pg;
struct source;

struct source_capture_names {
    const char *slot, *publication; /* unquoted */
};

/* A standby's log is that of its primary, and can be decoded from PostgreSQL 16 on: ERR_USAGE for
 * an older one. */
bool source_capture_find_standby(struct pg *pg, bool *is_standby, struct err *e);

/* Whether the server writes a log that can be decoded, and which of the tables' changes it will not
 * tell: ERR_USAGE for the root, a warning for a related table. */
bool source_capture_check(const struct source *s, struct pg *pg, struct err *e);

struct source_published {
    bool made; /* it did not exist: a slot that is older than it cannot be read with it */
    bool grew; /* it has tables now that it did not have before */
};
/* Makes the publication, or adds the script's tables to it. */
bool source_capture_publish(const struct source *s, struct pg *pg,
                            const struct source_capture_names *names, struct source_published *out,
                            struct err *e);

/* Makes and adds nothing: whether it exists, and whether it tells of all changes (ERR_USAGE). */
bool source_capture_check_publication(const struct source *s, struct pg *pg,
                                      const char *publication, bool *exists, struct err *e);

/* A text that differs once the publication was changed, or a table was made again, or partitions
 * came, went or were emptied: the log tells of none of that. Owned by the caller; NULL: e says
 * why. */
char *source_capture_signature(const struct source *s, struct pg *pg, const char *publication,
                               struct err *e);

/* A table as the log names it, and those that inherit from it, whose rows are the table's, too. The
 * changes of partitions come under the name of the partitioned table. */
struct source_relation {
    char *schema, *name;  /* owned; unquoted */
    struct keylist names; /* SQL; the first one is the table's */
    uint32_t *oids;       /* owned; of each */
};
/* Replaces *out. */
bool source_capture_relation(const struct source *s, size_t table, struct pg *pg,
                             struct source_relation *out, struct err *e);
void source_relation_free(struct source_relation *r); /* safe on a zeroed struct */

struct source_slot {
    enum {
        SOURCE_SLOT_MISSING,
        SOURCE_SLOT_READY,
        SOURCE_SLOT_LOST,    /* the server keeps the log no longer for it */
        SOURCE_SLOT_FOREIGN, /* of another plugin or another database */
    } status;
    uint64_t confirmed; /* READY: the position from which it streams; 0: it is being made */
    int64_t held_bytes; /* READY: of the log, which the server keeps for it */
    int pid;            /* of the process that reads it; 0: none */
    bool copied;        /* this is a standby, and the slot is kept as the primary's is */
    /* a primary reads no more of the log for it than the standbys have that it names in
     * synchronized_standby_slots */
    bool awaits;
    /* then: why nothing comes any more: "it waits for slot 'a' of ..., which does not exist";
     * empty: nothing is known */
    char held[200];
    bool held_for_good; /* unless somebody changes that: no standby can come back for it */
    /* LOST; static: the cause, and what ALTER SYSTEM SET should say */
    const char *why, *remedy;
};
#define SOURCE_SLOT_HELD_HINT                                                                      \
    "start that standby, or take the slot out of synchronized_standby_slots (ALTER SYSTEM SET, "   \
    "then SELECT pg_reload_conf())"
bool source_capture_find_slot(struct pg *pg, const char *slot, struct source_slot *out,
                              struct err *e);

/* Makes the slot. The server waits for every transaction that has written and is still open: the
 * log names the oldest. A standby waits until its primary tells of its transactions. A stop ends
 * the wait, and leaves no slot. */
bool source_capture_make_slot(struct pg *pg, const char *slot, struct err *e);
/* Waits until each transaction that is open now has ended, as making a slot does: then all that the
 * log has by now is visible. The slot is for the log, which names the oldest. */
bool source_capture_wait(struct pg *pg, const char *slot, struct err *e);
/* Drops the slot, if there is one. ERR_PASSING: a process reads it. */
bool source_capture_drop_slot(struct pg *pg, const char *slot, struct err *e);
bool source_capture_has_publication(struct pg *pg, const char *publication, bool *has,
                                    struct err *e);
/* Drops the publication, if there is one. */
bool source_capture_drop_publication(struct pg *pg, const char *publication, struct err *e);
/* visible[i]: whether a snapshot of now shows the transaction xids[i], of 32 bits as the log has
 * it. */
bool source_capture_visible(struct pg *pg, const uint64_t *xids, size_t n, bool *visible,
                            struct err *e);
/* How far the log goes now. */
bool source_capture_position(struct pg *pg, uint64_t *lsn, struct err *e);
