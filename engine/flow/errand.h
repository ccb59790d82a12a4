/* errand: keys that a run delivers because another process has asked for it, beside its own work.
 *
 * Uses     tally, delete_budget, batch, err.
 * Threads  any. One mutex, never held while calling out.
 * Promise  what is wrong with an errand ends the errand, and not the run: it has its own count of
 *          rejected documents, and its own limit for deletes.
 *
 * Its batches name it (struct batch). A feed that yields one of them calls errand_enter; queue_ack,
 * or the worker that has dropped it, errand_leave.
 */
#pragma once
#include "model/batch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct delete_budget;
struct err;
struct errand;
struct tally;

struct errand *errand_new(struct err *e); /* NULL: no memory */
/* NULL is fine. No batch of it may be under way. */
void errand_free(struct errand *x);

struct tally *errand_tally(const struct errand *x); /* borrowed */
struct delete_budget *errand_deletes(const struct errand *x);
/* At most n more deletes; negative: any number. To be called once, before its first batch. */
void errand_limit(struct errand *x, int64_t n);
bool errand_is_limited(const struct errand *x);

void errand_enter(struct errand *x);
void errand_leave(struct errand *x);
bool errand_is_idle(struct errand *x); /* no batch of it is under way */
/* The workers have ended: the batches that were dropped do not come back. */
void errand_reset(struct errand *x);

/* It fails with e: batches that are still under way do nothing. The first error stays. */
void errand_fail(struct errand *x, const struct err *e);
/* True: it has failed, and *e (NULL is fine) is why. */
bool errand_error(struct errand *x, struct err *e);

/* Reports a rejected document. Beyond some thousands that nobody has taken, only the tally
 * knows. */
void errand_report(struct errand *x, const char *key, int status, const char *reason);
/* The reports since the last call; owned by the caller. */
struct rejections errand_reports(struct errand *x);
