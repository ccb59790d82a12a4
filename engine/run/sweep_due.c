#include "run/sweep_due.h"

struct sweep_due sweep_due_after(int64_t swept_us, bool interrupted, int64_t wall_us,
                                 int64_t mono_us)
{
    bool known = swept_us > 0 && swept_us <= wall_us;
    return (struct sweep_due){.at_once = interrupted || !known,
                              .swept_us = known ? mono_us - (wall_us - swept_us) : mono_us};
}

struct sweep_due sweep_due_swept(int64_t mono_us)
{
    return (struct sweep_due){.swept_us = mono_us};
}

bool sweep_is_due(const struct sweep_due *d, double every, int64_t mono_us)
{
    return every > 0 && (d->at_once || (double)(mono_us - d->swept_us) >= every * 1e6);
}
