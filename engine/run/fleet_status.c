#include "run/fleet_status.h"

#include "base/notify.h"
#include "run/vitals.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { TEXT = 400 };

/* Held while the status is made and told: the last one told is the last one made. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct fleet {
    int count[VITALS_PHASES];
    enum vitals_phase worst; /* of those with a reason */
    char name[VITALS_NAME], reason[VITALS_TEXT];
};

/* One that fails is worse than one that waits; the first one of several is shown. */
static void look_at(struct fleet *f, struct vitals *v)
{
    char name[VITALS_NAME], reason[VITALS_TEXT];
    enum vitals_phase phase = vitals_now(v, name, reason);
    f->count[phase]++;
    if (!*reason || (*f->reason && phase <= f->worst))
        return;
    f->worst = phase;
    memcpy(f->name, name, sizeof f->name);
    memcpy(f->reason, reason, sizeof f->reason);
}

static void describe(const struct fleet *f, size_t n, char out[TEXT])
{
    int len = snprintf(out, TEXT, "%zu pipelines", n);
    const char *before = ": ";
    for (int i = 0; i < VITALS_PHASES; i++)
        if (f->count[i] > 0) {
            len += snprintf(out + len, TEXT - (size_t)len, "%s%d %s", before, f->count[i],
                            vitals_phase_name((enum vitals_phase)i));
            before = ", ";
        }
    if (*f->reason)
        snprintf(out + len, TEXT - (size_t)len, "; %.60s: %.250s", f->name, f->reason);
}

static void tell(void *arg)
{
    const struct vitals_list *l = arg;
    size_t n = vitals_count(l);
    struct fleet f = {0};
    char text[TEXT];
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n; i++)
        look_at(&f, vitals_at(l, i));
    describe(&f, n, text);
    notify_whole_status(text);
    pthread_mutex_unlock(&lock);
}

void fleet_status_begin(struct vitals_list *l)
{
    if (!notify_hears())
        return;
    notify_several();
    vitals_watch(l, tell, l);
}
