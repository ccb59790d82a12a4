/* capture_hub: pipelines of this process that capture by the same slot read the log together.
 *
 * Uses     wal_receiver, pipeline, pg (the server's label).
 * Threads  any: each pipeline's main thread.
 * Promise  each slot is read by one thread, and each event decoded once; see feed/wal_share.h for
 *          how far the slot is confirmed. Whoever has a seat is waited for: the slot stays where
 *          that pipeline's journal needs it. Its journal receives from when it has joined until
 *          nobody has a seat any more: also while its run has failed and waits, or has ended before
 *          the others.
 *
 *     struct capture_seat *s = capture_hub_enter(&pipeline, give_up_after, e);
 *     capture_hub_lock(s, e);                  // one pipeline at a time looks at the slot
 *     ... wal_member_join(capture_hub_member(s), ...)
 *     capture_hub_unlock(s);
 *     capture_hub_leave(s);
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct capture_seat;
struct err;
struct pipeline;
struct wal_member;
struct wal_receiver;

/* The pipeline's seat, once more if it has one. NULL: e says why. */
struct capture_seat *capture_hub_enter(const struct pipeline *p, double give_up_after,
                                       struct err *e);
/* As often as it has entered. NULL is fine. With the last seat of a slot, reading it ends. */
void capture_hub_leave(struct capture_seat *s);

/* Waits until no other pipeline looks at the slot, its publication and its journal. The pipeline's
 * own journal is closed from then on, until it joins. False: a stop was asked. */
bool capture_hub_lock(struct capture_seat *s, struct err *e);
void capture_hub_unlock(struct capture_seat *s);

/* Borrowed, as long as the seat is held. */
struct wal_member *capture_hub_member(struct capture_seat *s);
/* Whether the slot is that of several pipelines. */
bool capture_hub_is_shared(struct capture_seat *s);

/* The rest: between lock and unlock. */

/* See wal_receiver_confirmed. */
uint64_t capture_hub_confirmed(struct capture_seat *s, uint64_t slot);
/* The slot is made anew: nobody reads the old one any more. why: what the others fail with. */
void capture_hub_remake(struct capture_seat *s, const char *why);
/* How often that was. */
unsigned capture_hub_remade(struct capture_seat *s);
/* All that was committed before the position is visible to who reads now. */
void capture_hub_set_visible(struct capture_seat *s, uint64_t lsn);
uint64_t capture_hub_visible(struct capture_seat *s);
