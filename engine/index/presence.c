#include "index/presence.h"

#include "base/clock.h"
#include "base/err.h"
#include "index/index.h"

enum {
    SHARE = 20, /* how many times as long as the question took its answer holds */
    LONGEST_US = 1000 * 1000,
};

/* Two threads may ask at once: that costs a question, no more. */
static void hold(struct presence *p, int64_t began_us)
{
    int64_t now = clock_mono_us(), us = (now - began_us) * SHARE;
    atomic_store(&p->next_us, now + (us < LONGEST_US ? us : LONGEST_US));
}

bool presence_check(struct presence *p, struct es *es, const char *index, struct err *e)
{
    struct index_info info;
    int64_t began_us = clock_mono_us();
    if (began_us < atomic_load(&p->next_us))
        return true;
    bool told = index_get_info(es, index, &info, e);
    if (!told && e->kind != ERR_FINAL)
        return false;
    if (told && !info.exists) {
        err_set(e, ERR_FINAL, "index '%s' was deleted during the run", index);
        return err_hint(e, "the next run creates it and loads everything");
    }
    hold(p, began_us);
    return true;
}
