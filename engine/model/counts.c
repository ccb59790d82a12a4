#include "model/counts.h"

void counts_add(struct counts *to, const struct counts *delta)
{
    to->indexed += delta->indexed;
    to->deleted += delta->deleted;
    to->superseded += delta->superseded;
    to->rejected += delta->rejected;
    to->dropped += delta->dropped;
    to->bytes += delta->bytes;
    to->requests += delta->requests;
    to->retried_items += delta->retried_items;
    to->unchanged += delta->unchanged;
    to->repeated += delta->repeated;
}

struct counts counts_negative(const struct counts *c)
{
    return (struct counts){.indexed = -c->indexed,
                           .deleted = -c->deleted,
                           .superseded = -c->superseded,
                           .rejected = -c->rejected,
                           .dropped = -c->dropped,
                           .bytes = -c->bytes,
                           .requests = -c->requests,
                           .retried_items = -c->retried_items,
                           .unchanged = -c->unchanged,
                           .repeated = -c->repeated};
}
