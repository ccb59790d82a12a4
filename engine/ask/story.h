/* story: all that is known of one key: its row, its document, the index's, what leads to it.
 *
 * Uses     ask, arrival, findings, script, source, index, deadletter.
 * Threads  one, the main thread.
 * Promise  a part that cannot be read says why, and the others are still read.
 */
#pragma once
#include "ask/ask.h"
#include "ask/findings.h"
#include "base/buf.h"
#include "source/source.h"
#include "source/source_capture.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum { STORY_WHY = 600, STORY_ROWS = 4 };

struct story_column {
    const char *name; /* borrowed from the source */
    char *value;      /* owned; as SQL gives it; NULL: NULL */
};

struct story_table { /* the rows that lead to the document */
    struct source_trace trace;
    char why[STORY_WHY]; /* they cannot be read */
};

struct story {
    struct ask ask;
    char *key;                    /* owned; as the server writes it, unless is_malformed */
    bool is_malformed;            /* it cannot be a key of the table */
    size_t rows;                  /* that the query returns for it */
    struct story_column *columns; /* owned; of the first one */
    size_t n_columns;
    struct buf made; /* the document, if is_made */
    bool is_made;
    bool is_behind; /* the process that follows has not delivered what was committed before */
    char why_not[STORY_WHY]; /* the row cannot be read, or the document cannot be made */
    int64_t clock_us;        /* the server's, before the row was read */
    bool found;
    struct buf held; /* the index's, if it is stored */
    int64_t held_version;
    char *held_index; /* owned; NULL: the pipeline's own */
    size_t copies;
    struct findings findings;
    struct explain explain;
    enum explain_kind kind;
    enum explain_reason reason;
    const char *letter;          /* borrowed; the dead letter, as JSON; NULL: there is none */
    struct story_table *tables;  /* owned; one for each of the source */
    struct source_report report; /* of the other sessions */
    char no_report[STORY_WHY];
    struct source_slot slot; /* with capture from the log */
};

/* give_up_after: seconds without a server; 0: never. */
bool story_read(struct story *s, const char *script, const char *key, long long give_up_after,
                struct err *e);
void story_free(struct story *s); /* safe on a zeroed struct */
