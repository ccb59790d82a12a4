/* vitals: what one pipeline of the process shows of itself: its phase, its counts, its lag, its
 * last errors.
 *
 * Uses     ledger, queue, counts, alike, witness, clock, err.
 * Threads  any: a pipeline's threads write, a listener's reads. One mutex for each pipeline, held
 *          for a copy at most.
 * Promise  nobody waits here, and nothing is asked of a server: all of it is noted where it
 *          happens. What it counts outlives a run that fails and is tried again, and a reload.
 *          A pipeline takes some 8 KB, whatever happens. No text has a password.
 *
 *     struct vitals_list *all = vitals_list_new(n, e);      // before any thread starts
 *     struct vitals_snapshot *s = malloc(sizeof *s);        // on a listener's thread
 *     for (size_t i = 0; i < vitals_count(all); i++) {
 *         vitals_snapshot(vitals_at(all, i), s);
 *         ...
 *     }
 *     vitals_list_free(all);                                // after the threads have ended
 *
 * Wherever a struct vitals is taken, NULL is fine: then nothing is noted.
 */
#pragma once
#include "flow/ledger.h"
#include "model/counts.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct queue;
struct vitals;
struct witness;
struct vitals_list;

enum vitals_phase {
    VITALS_STARTING,
    VITALS_LOADING, /* until the index is up to date; the first load, or what has changed since */
    VITALS_FOLLOWING,
    VITALS_SWEEPING, /* it follows, and compares every row */
    VITALS_WAITING,  /* a server is away, or refuses: the same is tried again */
    VITALS_FAILING,  /* the run has failed, and another one is tried later */
    VITALS_ENDED,
    VITALS_PHASES /* how many there are */
};
const char *vitals_phase_name(enum vitals_phase phase); /* "starting", ... */

enum {
    VITALS_TEXT = 256,  /* bytes of a text; a longer one is cut */
    VITALS_NAME = 128,  /* of a name, or a key */
    VITALS_ERRORS = 10, /* the last ones that are kept */
    VITALS_LETTERS = 5, /* likewise: dead letters */
    VITALS_MINUTES = LEDGER_MINUTES,
    VITALS_STATUSES = 16,
    VITALS_BUCKETS = LEDGER_BUCKETS,
};

/* The upper bounds of the buckets of delays, in seconds; the last one has none. */
extern const double *const vitals_bounds;

struct vitals_requests { /* to the search server */
    int status;          /* of HTTP; 0: no answer came */
    uint64_t n;
};

struct vitals_error {
    int64_t at_us; /* since 1970, as all times here; of the last one, if it has come repeatedly */
    bool is_error; /* else it is a warning */
    char message[VITALS_TEXT];
};

/* A reload that has failed: the previous version of the script runs on. */
struct vitals_reload {
    int64_t at_us; /* 0: the last one has succeeded, or there was none */
    char reason[VITALS_TEXT];
};

struct vitals_letter {
    char key[VITALS_NAME], reason[VITALS_TEXT];
};

struct vitals_minute {
    int64_t time_s;     /* when the minute began; the last one is not over */
    uint64_t documents; /* indexed and deleted */
    uint64_t rejected;
    double lag_seconds; /* the longest one; negative: no change was acknowledged */
};

struct vitals_about {
    char name[VITALS_NAME]; /* that of the script, until it is known */
    char script[VITALS_TEXT], index[VITALS_TEXT];
    char database[VITALS_TEXT];     /* "127.0.0.1:5432/movies" */
    char search[VITALS_TEXT];       /* its URLs, without users and passwords */
    char dead_letters[VITALS_TEXT]; /* the file of them; "": there is none */
    bool from_log;                  /* capture = "wal" */
};

/* What a reader gets: copies. Seconds are negative where there are none (null in /status). */
struct vitals_snapshot {
    struct vitals_about about;
    enum vitals_phase phase;
    int64_t phase_since_us;
    bool ready;               /* loaded, and within its lag */
    char reason[VITALS_TEXT]; /* why it waits or fails; "": it does not */
    double retry_in_seconds;  /* 0: at this moment */
    struct vitals_reload not_reloaded;
    bool loading;                           /* whether load_... say something */
    uint64_t load_documents, load_expected; /* expected: 0: not known */
    double load_seconds_left;
    struct counts counts; /* over all runs of the process; bytes and requests, too */
    struct vitals_requests requests[VITALS_STATUSES]; /* ascending by status; n 0: the end */
    double documents_per_second;                      /* of the last ten seconds */
    double lag_seconds; /* of the last change: from its commit until it was acknowledged */
    double oldest_waiting_seconds;   /* of the changes that are known; 0: none waits */
    uint64_t delays[VITALS_BUCKETS]; /* changes acknowledged, by delay; each in one bucket */
    double delays_sum;               /* seconds, of all of them */
    size_t queued_batches;
    double silent_seconds;     /* since it heard of its servers; 0: it does not follow, or waits */
    const char *silent_server; /* which one that is; not owned */
    bool has_slot, slot_active;
    char slot[VITALS_NAME];
    uint64_t slot_held_bytes;
    bool has_journal;
    uint64_t journal_bytes;
    double horizon_seconds; /* negative: no transaction holds the pipeline back */
    char horizon_held_by[VITALS_TEXT];
    size_t dead_letters;
    size_t n_letters, n_errors, n_minutes;        /* in: */
    struct vitals_letter letters[VITALS_LETTERS]; /* the newest one first */
    struct vitals_error errors[VITALS_ERRORS];    /* likewise */
    struct vitals_minute minutes[VITALS_MINUTES]; /* the oldest one first */
    uint64_t failures;                            /* runs that have failed */
    int64_t last_sweep_us;                        /* 0: never */
};

/* ---- the process's pipelines ---- */

struct vitals_list *vitals_list_new(size_t n, struct err *e);    /* NULL: no memory */
void vitals_list_free(struct vitals_list *l);                    /* NULL is fine */
size_t vitals_count(const struct vitals_list *l);                /* NULL is fine: 0 */
struct vitals *vitals_at(const struct vitals_list *l, size_t i); /* borrowed; NULL: out of range */
int64_t vitals_started_us(const struct vitals_list *l);          /* since 1970 */

/* changed is called whenever a pipeline's phase has changed, by the thread that has changed it, and
 * may read the vitals. Before any thread starts; NULL: nobody watches. */
void vitals_watch(struct vitals_list *l, void (*changed)(void *arg), void *arg);

void vitals_snapshot(struct vitals *v, struct vitals_snapshot *out);
/* The same, but the phase and its reason alone. */
enum vitals_phase vitals_now(struct vitals *v, char name[VITALS_NAME], char reason[VITALS_TEXT]);

/* ---- what happens ---- */

/* What the pipeline's threads log, wait for and get as answers is noted by it. Borrowed; NULL: of
 * NULL. */
const struct witness *vitals_witness(struct vitals *v);
/* Where the pipeline's documents are counted. Borrowed; NULL: of NULL. */
struct ledger *vitals_ledger(struct vitals *v);
/* The run's queue, borrowed until it is another one, or NULL: then the age of what waits in it is
 * kept, since a run that is tried again reads it again. */
void vitals_queue(struct vitals *v, struct queue *q);
/* What is known, but not yet in the queue: when its oldest change was committed, by clock_mono_us;
 * 0: there is none. */
void vitals_backlog(struct vitals *v, int64_t oldest_us);
/* All rows are being loaded. expected: documents, about; 0: not known. */
void vitals_load(struct vitals *v, int64_t expected);
void vitals_loaded(struct vitals *v);

/* Copies; at first the script alone is known. */
void vitals_describe(struct vitals *v, const struct vitals_about *about);
/* reason, of FAILING: copied; else NULL. retry_ms: until the next try; negative: none. */
void vitals_phase(struct vitals *v, enum vitals_phase phase, const char *reason, int64_t retry_ms);
void vitals_failed(struct vitals *v); /* one run more that has failed */
/* The script was to be reloaded. reason: why it was not; NULL: it was. Shown until a later reload
 * succeeds, or the run ends: the next one reads the script as it is then. */
void vitals_reload(struct vitals *v, const char *reason);
/* Whether the run that is under way, or has just failed, follows: it has loaded everything. */
bool vitals_is_loaded(struct vitals *v);
/* reason: why a server cannot be reached, though nothing waits for it; NULL: it can. */
void vitals_away(struct vitals *v, const char *reason);
/* reason: why no change comes, though every server answers; NULL: there is none. */
void vitals_held(struct vitals *v, const char *reason);
/* The main thread has completed a round. at_us: when it, or who listens for it, heard of a server
 * last, by clock_mono_us; 0: it waits for something else. A server that hangs fails nothing. */
void vitals_heard(struct vitals *v, int64_t at_us);
/* The main thread asks this one; NULL: PostgreSQL, as usual. A static text. */
void vitals_asks(struct vitals *v, const char *server);
void vitals_slot(struct vitals *v, const char *name, uint64_t held_bytes, bool active);
void vitals_journal(struct vitals *v, uint64_t bytes);
void vitals_no_capture(struct vitals *v); /* neither slot nor journal, any more */
/* At the last look. age: in seconds; negative: nobody holds the pipeline back. */
void vitals_horizon(struct vitals *v, double age, const char *held_by);
/* letters: the newest first; n: at most VITALS_LETTERS. */
void vitals_dead_letters(struct vitals *v, size_t count, const struct vitals_letter *letters,
                         size_t n);
void vitals_swept(struct vitals *v, int64_t at_us); /* 0: not known: nothing is noted */
