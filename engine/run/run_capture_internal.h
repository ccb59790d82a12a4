/* run_capture_internal: what the files of run_capture share; included by them only.
 *
 *     run_capture.c        while it is open: what is delivered, what is done now and then, the end
 *     run_capture_open.c   set up: server, publication, slot, journal, thread and feeds
 */
#pragma once
#include "model/checkpoint.h"
#include "run/run.h"
#include "source/source_capture.h"

#include <stdbool.h>
#include <stdint.h>

struct err;
struct feed_wal;
struct journal;
struct pg;
struct capture_seat;
struct wal_keys;
struct wal_member;

struct run_capture {
    char *prefix;                      /* owned: of the journal's files */
    char *server;                      /* owned: see source_server; NULL: it does not say */
    struct source_relation *relations; /* owned, as are the names; for each table */
    char *signature;                   /* owned: see source_capture_signature */
    const char **labels;               /* owned: of the journal's records, for each table */
    struct capture_seat *seat;
    struct wal_member *member; /* borrowed; NULL: it has not joined */
    struct wal_keys *keys;     /* owned until it has joined, as is: */
    struct journal *journal;
    unsigned remade; /* how often the slot was made when it joined */
    struct feed_wal *feeds;
    struct journal_position from;     /* the place from which the journal is read */
    struct journal_position released; /* the place up to which it was released */
    uint64_t tables_lsn;              /* how far the log was when the tables were checked */
    int64_t tended_us, tables_us, limit_us, slot_us;
    /* for a process that waits: once the state is at `end`, all before `lsn` is delivered. 0:
     * none */
    struct {
        uint64_t lsn;
        struct journal_position end;
        int64_t looked_us, asked_us;
    } mark;
    bool awaits;     /* the server hands out what its standbys have: see source_slot */
    bool held;       /* it has said that it hands out nothing */
    bool is_standby; /* the server was one */
    bool gap_told;   /* a gap in the journal is no news */
    bool feeding;    /* the coordinator has the feeds */
    bool limited;    /* the feeds end where the run ends */
};

static inline const char *capture_name(const struct run *r)
{
    return r->user.pipeline.name;
}

static inline const char *capture_slot(const struct run *r)
{
    return r->user.pipeline.source.slot;
}

/* A sweep is owed from now on, and the log says why. */
void capture_owe_sweep(struct run *r, const char *why);
/* Warns that the state's slot is still on the server. */
void capture_warn_left_slot(const struct run *r, const char *why);

struct capture_opening {
    struct run *run;
    struct run_capture *capture;
    struct pg *pg;
    struct source_published published;
    struct source_slot slot;
    struct journal_position floor; /* a place below which batches in work may still have theirs */
    /* the slot is to be made anew, whatever it looks like, unless that was done since it was made
     * for this number: capture_hub_remade */
    bool remake;
    unsigned remade;
    bool is_standby;
    bool is_other_server; /* than the state's */
    bool is_promoted; /* it is the state's cluster, by another timeline: has it all of before? */
    char why[300];    /* a sweep is owed; empty: none is */
};

/* Sets up everything; o: its first fields are given. On success o->capture is the caller's. A
 * reason for a sweep is told also if the rest fails: it does not show a second time. */
bool capture_open(struct capture_opening *o, struct err *e);
/* Makes or extends the publication; o->run and o->pg are given. */
bool capture_publish(struct capture_opening *o, struct err *e);
/* Reads the signature anew; another one than `before` (NULL: not known) is a reason for a sweep. */
bool capture_compare_signature(struct capture_opening *o, const char *before, struct err *e);
void capture_close(struct run_capture *c, size_t n_tables); /* NULL is fine */
