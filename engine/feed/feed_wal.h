/* feed_wal: the documents that the journal's keys are about, once everybody can see their changes.
 *
 * Uses     journal, wal_keys (kinds), fanout, source, batch.
 * Threads  one, the main thread; wal_receiver appends to the journal meanwhile.
 * Promise  a key is delivered only after its transaction is visible to other sessions, so that who
 *          fetches the row sees the change. A batch's checkpoint names the place in the journal
 *          before which all is delivered.
 *
 * The rule. A commit is in the log before other sessions can see it: for a moment, or for as long
 * as it waits for a synchronous standby. So a record is held until a snapshot, taken after it was
 * read, shows its transaction; those after it do not wait for it. Rows are fetched later, by a
 * snapshot that is newer still.
 *
 * Two feeds, for two lanes: the direct one has keys of the root; the other one has the fan-outs of
 * related tables whose `affects` is a query, so that the change of one row does not wait for a
 * rename that affects a million. The state continues from the lower of their places.
 */
#pragma once
#include "feed/feed.h"
#include "model/checkpoint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct feed_wal;
struct journal;

#define FEED_WAL_GAP SIZE_MAX

enum feed_wal_lane { FEED_WAL_DIRECT, FEED_WAL_FANOUT, FEED_WAL_LANES };

struct feed_wal_config {       /* all borrowed, until feed_wal_free */
    struct journal *journal;   /* read from where it was opened */
    const char *const *labels; /* of its records, for each table of the source */
    int64_t since_us;          /* the commit time up to which all is delivered; 0: not known */
    /* visible[i]: whether a snapshot of now shows the transaction xids[i], of 32 bits. */
    bool (*visible)(void *arg, const uint64_t *xids, size_t n, bool *visible, struct err *e);
    /* Something happened that only a sweep can follow: a TRUNCATE of that table, changes of one
     * that the script does not name any more (table: source.n_tables), or a gap (FEED_WAL_GAP). It
     * is called before the place in the journal passes the event. */
    void (*want_sweep)(void *arg, size_t table);
    void *arg;
    bool impatient; /* asks once at each look, whenever the last one was: for virtual time */
};

/* NULL: e says why. */
struct feed_wal *feed_wal_new(const struct feed_origin *origin,
                              const struct feed_wal_config *config, struct err *e);
void feed_wal_free(struct feed_wal *w); /* with its feeds; NULL is fine */
/* Borrowed, until feed_wal_free; feed_free does nothing to it. */
struct feed *feed_wal_feed(struct feed_wal *w, enum feed_wal_lane lane);

/* All commits up to that time are delivered, though not by these feeds: a load reads them. */
void feed_wal_since(struct feed_wal *w, int64_t us);
/* From now on nothing is read beyond that place: a run that ends delivers what is before it. NULL:
 * there is no limit any more. */
void feed_wal_limit(struct feed_wal *w, const struct journal_position *to);
/* Whether all that the journal had at the last look, up to the limit, is handed over, except what
 * is not visible yet. */
bool feed_wal_is_done(const struct feed_wal *w);
/* Passes over everything up to the first record that is not visible yet, without delivering it: the
 * caller sweeps. *to: that place. */
bool feed_wal_skip(struct feed_wal *w, struct journal_position *to, struct err *e);
/* When the oldest change that is read and not handed over was committed, by clock_mono_us; 0: there
 * is none. */
int64_t feed_wal_oldest(const struct feed_wal *w);
/* How many records wait until their transactions are visible. */
size_t feed_wal_held(const struct feed_wal *w);
