/* torture: makes allocations fail, for the tests that walk every failing path.
 *
 * The unit tests are linked with --wrap for malloc, calloc, realloc, strdup and strndup, so that
 * the engine's own calls, and those of the Lua within it, pass through here.
 *
 *     for (int n = 0; !done; n++) {
 *         allocations_left = n;
 *         done = build_everything(&b, &e);
 *         allocations_left = -1;
 *         buf_free(&b);
 *     }
 */
#pragma once

#include <stdatomic.h>

/* How many allocations still succeed; all of them while it is negative. */
extern atomic_int allocations_left;
