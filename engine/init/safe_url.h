/* safe_url: the address of a database without its password, as it may stand in a script.
 *
 * Uses     arena, libpq (which reads the other form of an address). Pure.
 */
#pragma once
#include "init/arena.h"

/* postgresql://user:secret@host/db: postgresql://user@host/db; "host=..." likewise.
 * *had: there was one. */
const char *safe_url(struct arena *a, const char *url, bool *had);
