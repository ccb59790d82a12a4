#include "flow/delete_budget.h"

#include "base/err.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct delete_budget {
    pthread_mutex_t mutex;
    int64_t left; /* negative: any number */
};

struct delete_budget *delete_budget_new(struct err *e)
{
    struct delete_budget *b = calloc(1, sizeof *b);
    if (!b) {
        err_memory(e);
        return NULL;
    }
    pthread_mutex_init(&b->mutex, NULL);
    b->left = -1;
    return b;
}

void delete_budget_free(struct delete_budget *b)
{
    if (!b)
        return;
    pthread_mutex_destroy(&b->mutex);
    free(b);
}

void delete_budget_set(struct delete_budget *b, int64_t n)
{
    pthread_mutex_lock(&b->mutex);
    b->left = n;
    pthread_mutex_unlock(&b->mutex);
}

bool delete_budget_reserve(struct delete_budget *b, int64_t n)
{
    assert(n >= 0);
    pthread_mutex_lock(&b->mutex);
    bool ok = b->left < 0 || n <= b->left;
    if (ok && b->left >= 0)
        b->left -= n;
    pthread_mutex_unlock(&b->mutex);
    return ok;
}

void delete_budget_refund(struct delete_budget *b, int64_t n)
{
    assert(n >= 0);
    pthread_mutex_lock(&b->mutex);
    if (b->left >= 0)
        b->left += n;
    pthread_mutex_unlock(&b->mutex);
}
