/* checkpoint: how far a table has been delivered to the index.
 *
 * Uses     clock, text.
 * Threads  any, each with values of its own.
 *
 * A batch carries the checkpoint that holds once the batch and all batches before it are
 * acknowledged by the search server. The state file keeps the last one of each table, and a later
 * process continues from it. store/state.h lists the fields as JSON; model/watermark.h has the
 * rules by which they move.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* A place in the order of a table's rows: by the cursor, then by the key. A zeroed one is the
 * beginning, and can be freed. */
struct position {
    char *cursor; /* owned: the server's own text; NULL: the beginning of the table */
    char *key;    /* owned; NULL: no row with this cursor is included */
    int64_t us;   /* the cursor in microseconds since 1970 */
    bool has_us;  /* the cursor is a time, so `us` is set */
};
void position_free(struct position *p);
/* Replaces what `to` held with a copy. False: no memory; `to` can be freed. */
bool position_copy(struct position *to, const struct position *from);
/* Replaces what `to` held, and leaves `from` empty. */
void position_move(struct position *to, struct position *from);
/* Replaces what `p` held with a time: the rows before it are included, those at it are not. False:
 * no memory. */
bool position_set_time(struct position *p, int64_t us);
/* Whether cursor and key are the same texts. */
bool position_same(const struct position *a, const struct position *b);

/* The transactions that were open at one moment. */
struct fence {
    /* owned: the sessions' names, each followed by a space; NULL: no fence */
    char *sessions;
    /* a standby cannot name sessions: there, the fence is over once all transactions below this id
     * have ended */
    uint64_t xid;
    int64_t us; /* the server's clock at that moment */
};

/* The rows that a whole pass reads: all rows at or above the watermark, which is `from`. */
struct window {
    struct position from; /* cursor NULL: the beginning of the table, or no window */
    /* the window's rows of transactions below this id are done; 0: no row is done yet */
    uint64_t xid;
    int64_t us;      /* the server's clock when the window was chosen */
    int64_t mono_us; /* this process's monotonic clock then, not saved; 0: another process's */
    struct fence fence;
};
/* Leaves an empty window. */
void window_free(struct window *w);

/* A place in a journal of keys (store/journal.h). {0, 0}: the beginning. */
struct journal_position {
    uint64_t segment, offset;
};
bool journal_is_before(struct journal_position a, struct journal_position b);

struct checkpoint {
    struct position at;      /* the position for people and the mtime; see watermark.h */
    struct position seen;    /* the highest position read; cursor NULL: it is `at` */
    struct window window;    /* without a fence */
    struct window candidate; /* becomes the window; us 0: none */
    struct window rewind;    /* the window to return to; fence.sessions NULL: none */
    struct position pass;    /* how far a pass under way has come; cursor NULL: none is under way */
    uint64_t pass_xid;       /* window.xid once that pass has ended */
    /* the server's clock when the last whole pass that has ended began: what was committed before
     * is delivered; 0: not known */
    int64_t whole_us;
    struct position fanout; /* the last row whose fan-out is under way; cursor NULL: none is */
    uint64_t fanout_hash;   /* of those rows: whether they are still the same ones */
    struct journal_position journal; /* of a capture from the log: all before it is delivered */
    char *after; /* owned: the last key done, of the fan-out; or of the snapshot or the sweep */
};
void checkpoint_free(struct checkpoint *c);
/* Replaces what `to` held, and leaves `from` empty. */
void checkpoint_move(struct checkpoint *to, struct checkpoint *from);
/* Replaces what `to` held with a copy. False: no memory; `to` can be freed. */
bool checkpoint_copy(struct checkpoint *to, const struct checkpoint *from);
/* Starts over: all rows at or above `at` are to be read (cursor NULL: all rows). False: no memory,
 * and `c` is unchanged. */
bool checkpoint_begin(struct checkpoint *c, const struct position *at);
/* The highest position read; borrowed. */
const struct position *checkpoint_highest(const struct checkpoint *c);
