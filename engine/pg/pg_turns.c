#include "pg/pg_turns.h"

#include <assert.h>
#include <stddef.h>

static int largest(int a, int b)
{
    return a > b ? a : b;
}

/* What the other classes leave free for this one. The reserves together fit into any bound. */
static int reserve(const struct pg_turns *t, enum pg_class class)
{
    switch (class) {
    case PG_SHORT:
        return t->bound < 2 ? 0 : largest(1, t->bound / 8);
    case PG_LONG:
        return t->bound < 2 ? 0 : largest(1, t->bound / 4);
    case PG_NESTED:
        return t->bound < 3 || !t->nests ? 0 : largest(1, t->bound / 4);
    default:
        return 0;
    }
}

int pg_turns_used(const struct pg_turns *t)
{
    return t->used[PG_SHORT] + t->used[PG_LONG] + t->used[PG_NESTED];
}

static bool may(const struct pg_turns *t, enum pg_class class)
{
    int taken = t->used[class];
    for (enum pg_class c = PG_SHORT; c <= PG_NESTED; c++)
        if (c != class)
            taken += largest(t->used[c], reserve(t, c));
    return class == PG_DEEP || taken < t->bound || (class == PG_NESTED && t->used[class] == 0);
}

bool pg_turns_ask(struct pg_turns *t, struct pg_turn *turn)
{
    struct pg_turn **end = &t->first;
    bool first = true; /* of its class */
    turn->next = NULL;
    t->nests |= turn->class == PG_NESTED;
    for (; *end; end = &(*end)->next)
        first &= (*end)->class != turn->class;
    if (first && may(t, turn->class)) {
        t->used[turn->class]++;
        return true;
    }
    *end = turn;
    return false;
}

struct pg_turn *pg_turns_next(struct pg_turns *t)
{
    for (struct pg_turn **at = &t->first; *at; at = &(*at)->next) {
        struct pg_turn *turn = *at;
        if (!may(t, turn->class))
            continue;
        *at = turn->next;
        turn->next = NULL;
        t->used[turn->class]++;
        return turn;
    }
    return NULL;
}

void pg_turns_give_back(struct pg_turns *t, enum pg_class class)
{
    assert(t->used[class] > 0);
    t->used[class]--;
}

bool pg_turns_withdraw(struct pg_turns *t, const struct pg_turn *turn)
{
    for (struct pg_turn **at = &t->first; *at; at = &(*at)->next)
        if (*at == turn) {
            *at = turn->next;
            return true;
        }
    return false;
}
