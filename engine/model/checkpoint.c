#include "model/checkpoint.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

void position_free(struct position *p)
{
    free(p->cursor);
    free(p->key);
    *p = (struct position){0};
}

bool position_copy(struct position *to, const struct position *from)
{
    to->us = from->us;
    to->has_us = from->has_us;
    return text_set(&to->cursor, from->cursor) && text_set(&to->key, from->key);
}

bool position_set_time(struct position *p, int64_t us)
{
    char text[CLOCK_TEXT];
    position_free(p);
    *p = (struct position){.cursor = strdup(clock_text(us, text)), .us = us, .has_us = true};
    return p->cursor != NULL;
}

bool position_same(const struct position *a, const struct position *b)
{
    return text_same(a->cursor, b->cursor) && text_same(a->key, b->key);
}

void position_move(struct position *to, struct position *from)
{
    position_free(to);
    *to = *from;
    *from = (struct position){0};
}

static void fence_free(struct fence *f)
{
    free(f->sessions);
    *f = (struct fence){0};
}

void window_free(struct window *w)
{
    position_free(&w->from);
    fence_free(&w->fence);
    *w = (struct window){0};
}

static bool window_copy(struct window *to, const struct window *from)
{
    to->xid = from->xid;
    to->us = from->us;
    to->mono_us = from->mono_us;
    to->fence.xid = from->fence.xid;
    to->fence.us = from->fence.us;
    return position_copy(&to->from, &from->from) &&
           text_set(&to->fence.sessions, from->fence.sessions);
}

bool journal_is_before(struct journal_position a, struct journal_position b)
{
    return a.segment != b.segment ? a.segment < b.segment : a.offset < b.offset;
}

void checkpoint_free(struct checkpoint *c)
{
    position_free(&c->at);
    position_free(&c->seen);
    window_free(&c->window);
    window_free(&c->candidate);
    window_free(&c->rewind);
    position_free(&c->pass);
    position_free(&c->fanout);
    free(c->after);
    *c = (struct checkpoint){0};
}

void checkpoint_move(struct checkpoint *to, struct checkpoint *from)
{
    checkpoint_free(to);
    *to = *from;
    *from = (struct checkpoint){0};
}

bool checkpoint_copy(struct checkpoint *to, const struct checkpoint *from)
{
    to->pass_xid = from->pass_xid;
    to->whole_us = from->whole_us;
    to->fanout_hash = from->fanout_hash;
    to->journal = from->journal;
    return position_copy(&to->at, &from->at) && position_copy(&to->seen, &from->seen) &&
           window_copy(&to->window, &from->window) &&
           window_copy(&to->candidate, &from->candidate) &&
           window_copy(&to->rewind, &from->rewind) && position_copy(&to->pass, &from->pass) &&
           position_copy(&to->fanout, &from->fanout) && text_set(&to->after, from->after);
}

const struct position *checkpoint_highest(const struct checkpoint *c)
{
    return c->seen.cursor ? &c->seen : &c->at;
}

bool checkpoint_begin(struct checkpoint *c, const struct position *at)
{
    struct checkpoint fresh = {0};
    bool ok = position_copy(&fresh.at, at) && position_copy(&fresh.window.from, at);
    if (ok)
        checkpoint_move(c, &fresh);
    else
        checkpoint_free(&fresh);
    return ok;
}
