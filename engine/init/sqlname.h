/* sqlname: names as SQL writes them: quoted only where they must be.
 *
 * Uses     arena, catalog. Pure.
 */
#pragma once
#include "init/catalog.h"

/* modified; "Modified"; "order" */
const char *sqlname(struct arena *a, const struct catalog *c, const char *name);
/* film, content.film_work; the schema is left out if it is public, and searched. */
const char *sqlname_table(struct arena *a, const struct catalog *c, const struct catalog_table *t);
/* The columns, each after `prefix` ("f." or ""), with commas: f.id, f.name */
const char *sqlname_columns(struct arena *a, const struct catalog *c, const struct catalog_table *t,
                            const struct catalog_columns *columns, const char *prefix);
