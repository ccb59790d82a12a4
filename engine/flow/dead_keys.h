/* dead_keys: the keys that are dead letters, so that a worker notices when one succeeds.
 *
 * Uses     keyset, err.
 * Threads  any. One mutex, never held while calling out. The dead letters themselves belong to the
 *          main thread: see store/deadletter.
 */
#pragma once
#include <stdbool.h>

struct dead_keys;
struct err;

struct dead_keys *dead_keys_new(struct err *e); /* NULL: no memory */
void dead_keys_free(struct dead_keys *d);       /* NULL is fine */

/* A key for which there is no memory is not remembered: its dead letter then stays. */
void dead_keys_set(struct dead_keys *d, const char *key, bool dead);
bool dead_keys_has(struct dead_keys *d, const char *key); /* cheap while there are none */
