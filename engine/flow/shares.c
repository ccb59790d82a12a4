#include "flow/shares.h"

#include <assert.h>
#include <limits.h>
#include <stddef.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
/* under the mutex */
static int further = INT_MAX, further_out;
static struct share *first; /* that waits; the longest wait first */

void shares_set(int n)
{
    pthread_mutex_lock(&mutex);
    further = n;
    pthread_mutex_unlock(&mutex);
}

static bool give_to(struct share *s)
{
    if (!s->group->first_out) {
        s->group->first_out = true;
        s->has = SHARE_FIRST;
    } else if (further_out < further || s->group->ends) {
        further_out++;
        s->has = SHARE_FURTHER;
    }
    return s->has != SHARE_NONE;
}

static void give_to_waiting(void)
{
    for (struct share **at = &first; *at;) {
        struct share *s = *at;
        if (!give_to(s)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        pthread_cond_signal(&s->given);
    }
}

static void wait_for(struct share *s)
{
    struct share **end = &first;
    while (*end)
        end = &(*end)->next;
    *end = s;
    s->next = NULL;
    pthread_cond_init(&s->given, NULL);
    while (s->has == SHARE_NONE)
        pthread_cond_wait(&s->given, &mutex);
    pthread_cond_destroy(&s->given);
}

void shares_take(struct share *s)
{
    assert(s->has == SHARE_NONE);
    pthread_mutex_lock(&mutex);
    if (!give_to(s))
        wait_for(s);
    pthread_mutex_unlock(&mutex);
}

void shares_give(struct share *s)
{
    pthread_mutex_lock(&mutex);
    if (s->has == SHARE_FIRST)
        s->group->first_out = false;
    else if (s->has == SHARE_FURTHER)
        further_out--;
    s->has = SHARE_NONE;
    give_to_waiting();
    pthread_mutex_unlock(&mutex);
}

void shares_end(struct share_group *g)
{
    pthread_mutex_lock(&mutex);
    g->ends = true;
    give_to_waiting();
    pthread_mutex_unlock(&mutex);
}
