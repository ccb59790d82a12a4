/* pg_turns: who may have a connection next, where several pipelines share them. The rule alone: no
 * connection, no lock, no waiting.
 *
 * Uses     nothing.
 * Threads  none of its own: the caller has a lock (pg_pool.c).
 * Promise  there are never more turns at a time than the bound, but for what is said below. Each
 *          one who asks gets one, provided that each one who has one gives it back.
 *
 * The rule
 *
 *     Order     Turns are of three classes: for something short, a look or the rows of some keys
 *               (PG_SHORT); for a chunk of a table, which may take minutes (PG_LONG); and the
 *               second one of a thread that has one already, as when document() asks etl.pg for
 *               each row that is read (PG_NESTED). Who has waited longest is next. Each class has
 *               a reserve, which the others leave free: so changes get through while a hundred
 *               loads want connections, and the reverse. Nobody overtakes a longer wait but for a
 *               turn of his own class's reserve.
 *     Deadlock  Who has a turn of PG_SHORT or PG_LONG waits at most for one of PG_NESTED; who has
 *               that one waits for none: a third one (a loop over rows in a loop over rows) is
 *               PG_DEEP, which is not counted. So there is no circle. One turn of PG_NESTED is
 *               always there, even above a bound too small for its reserve: the thread would wait
 *               for its own.
 *     Bound     It may be lowered at any time, as when the server refuses more connections: turns
 *               that are out stay, and none is given until enough have come back.
 *
 * tests/unit/pg/test_pg_turns.c drives it with random holders, waiters and bounds.
 */
#pragma once
#include <stdbool.h>

enum pg_class { PG_SHORT, PG_LONG, PG_NESTED, PG_DEEP, PG_CLASSES };

struct pg_turn { /* the caller's, and it stays where it is while it waits */
    enum pg_class class;
    struct pg_turn *next; /* that waits */
    int wake;             /* the caller's: what ends his wait */
};

struct pg_turns {
    int bound;
    int used[PG_CLASSES];
    bool nests;            /* PG_NESTED has been asked for: from then on it has a reserve */
    struct pg_turn *first; /* that waits; the longest wait first */
};

/* True: the turn is given. False: it waits, until pg_turns_next returns it. */
bool pg_turns_ask(struct pg_turns *t, struct pg_turn *turn);
/* Gives a turn to the first of those who wait that may have one. NULL: none may. Call it until then
 * after each change. */
struct pg_turn *pg_turns_next(struct pg_turns *t);
void pg_turns_give_back(struct pg_turns *t, enum pg_class class);
/* It waits no longer. False: it did not wait. */
bool pg_turns_withdraw(struct pg_turns *t, const struct pg_turn *turn);
/* Those that are out and count. */
int pg_turns_used(const struct pg_turns *t);
