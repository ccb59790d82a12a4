/* naming: what an expert would call things: the field of a foreign key, the plural of a table, the
 * alias of a table in a query.
 *
 * Uses     arena. Pure: texts from texts.
 *
 * Names in capitals and small letters keep their way: FilmWork becomes FilmWorks.
 */
#pragma once
#include "init/arena.h"

/* category: categories; bus: buses; orders, staff, news: unchanged */
const char *naming_plural(struct arena *a, const char *name);
/* categories: category; orders: order; status, staff: unchanged */
const char *naming_singular(struct arena *a, const char *name);

/* What a column that refers to a table is about: language_id, languageId: language; parent: NULL.
 * Without an underscore only if the rest is the table's name, or ends in it: makerid and maker,
 * sizeunitmeasurecode and unitmeasure. NULL: the name does not end as a reference does. */
const char *naming_referred(struct arena *a, const char *column, const char *table);

/* A short alias, of lower case letters: film_work: fw; FilmWork: fw; Überschrift: t. */
const char *naming_alias(struct arena *a, const char *table);

/* As a document's field: without dots, spaces at its ends, or an underscore at its beginning, which
 * the search server keeps for itself; never empty. */
const char *naming_field(struct arena *a, const char *name);
/* As the name of an index, a pipeline and a slot: lower case letters, digits and underscores. */
const char *naming_index(struct arena *a, const char *name);
/* For people: film_work, FilmWork: "film work". */
const char *naming_words(struct arena *a, const char *name);
