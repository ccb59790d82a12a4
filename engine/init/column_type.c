#include "init/column_type.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum {
    SHORT_TEXT = 32,  /* characters: a varchar up to it is a code more often than a text */
    LONG_DIGITS = 18, /* all numbers of so many digits fit a long */
    VARHDRSZ = 4,     /* what PostgreSQL adds to a length in a modifier */
    PLAIN_NAME = 64,
};

/* ---- names that tell ---- */

/* In small letters, without what is not a letter or digit: lastUpdate, last_update: lastupdate. */
static void plain_name(const char *name, char out[PLAIN_NAME])
{
    size_t n = 0;
    for (; *name && n < PLAIN_NAME - 1; name++)
        if (isalnum((unsigned char)*name))
            out[n++] = (char)tolower((unsigned char)*name);
    out[n] = '\0';
}

static bool ends_so(const char *text, const char *end)
{
    size_t len = strlen(text), n = strlen(end);
    return len >= n && strcmp(text + len - n, end) == 0;
}

static bool ends_in_any(const char *text, const char *const *ends)
{
    for (; *ends; ends++)
        if (ends_so(text, *ends))
            return true;
    return false;
}

static bool contains_any(const char *text, const char *const *parts)
{
    for (; *parts; parts++)
        if (strstr(text, *parts))
            return true;
    return false;
}

static bool is_secret(const struct catalog_column *c)
{
    static const char *const parts[] = {"password", "passwd", "secret",     "apikey",
                                        "token",    "salt",   "privatekey", NULL};
    static const char *const ends[] = {"pwd", "passwordhash", NULL};
    char name[PLAIN_NAME];
    plain_name(c->name, name);
    return strcmp(c->base, "bool") != 0 && (contains_any(name, parts) || ends_in_any(name, ends));
}

/* Long texts, which nobody sorts by. */
static bool is_prose(const char *name)
{
    static const char *const ends[] = {
        "description", "body",      "content", "notes",    "note",     "comment", "comments",
        "bio",         "biography", "summary", "overview", "abstract", "plot",    "synopsis",
        "text",        "message",   "html",    "markdown", NULL};
    return ends_in_any(name, ends);
}

static bool is_code(const char *name)
{
    static const char *const ends[] = {
        "id",    "code",  "uuid",   "guid",     "key",        "type",   "kind",  "status",
        "state", "sku",   "isbn",   "slug",     "lang",       "locale", "email", "currency",
        "hash",  "phone", "url",    "uri",      "ip",         "zip",    "role",  "level",
        "path",  "color", "gender", "language", "postalcode", "sex",    NULL};
    return ends_in_any(name, ends);
}

/* ---- types ---- */

struct type_row {
    const char *base, *mapping, *expression, *left_out;
};

#define KEYWORD "{ type = \"keyword\" }"
#define OPAQUE "{ type = \"object\", enabled = false }"
#define MONEY "{ type = \"scaled_float\", scaling_factor = 100 }"
#define POINT "CASE WHEN \1 IS NOT NULL THEN json_build_object('lat', \1[1], 'lon', \1[0]) END"

/* Types of pg_catalog whose mapping is always the same; all others are keywords. */
static const struct type_row types[] = {
    {"bool", "{ type = \"boolean\" }", NULL, NULL},
    {"int2", "{ type = \"short\" }", NULL, NULL},
    {"int4", "{ type = \"integer\" }", NULL, NULL},
    {"int8", "{ type = \"long\" }", NULL, NULL},
    {"oid", "{ type = \"long\" }", NULL, NULL},
    {"float4", "{ type = \"float\" }", NULL, NULL},
    {"float8", "{ type = \"double\" }", NULL, NULL},
    {"money", MONEY, "\1::numeric", NULL},
    {"date", "{ type = \"date\" }", NULL, NULL},
    {"timestamp", "{ type = \"date\" }", NULL, NULL},
    {"timestamptz", "{ type = \"date\" }", NULL, NULL},
    {"inet", "{ type = \"ip\" }", "host(\1)", NULL},
    {"json", OPAQUE, NULL, NULL},
    {"jsonb", OPAQUE, NULL, NULL},
    {"point", "{ type = \"geo_point\", ignore_malformed = true }", POINT, NULL},
    {"bytea", NULL, NULL, "binary data"},
    {"tsvector", NULL, NULL, "PostgreSQL's own text search"},
    {"tsquery", NULL, NULL, "PostgreSQL's own text search"},
    {"xml", "{ type = \"text\" }", NULL, NULL},
};

static const struct type_row *find_type(const struct catalog_column *c)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].base, c->base) == 0)
            return &types[i];
    return NULL;
}

/* ---- numeric ---- */

/* The modifier of numeric(p, s), less what PostgreSQL adds to it, is p << 16 | s. */
static const char *numeric_mapping(struct arena *a, const struct catalog_column *c)
{
    int modifier = c->modifier - VARHDRSZ;
    int digits = modifier >> 16 & 0xffff, scale = modifier & 0x7ff;
    if (c->modifier < VARHDRSZ || digits > LONG_DIGITS || scale > digits)
        return "{ type = \"double\" }";
    if (scale == 0)
        return digits < 10 ? "{ type = \"integer\" }" : "{ type = \"long\" }";
    long long factor = 1;
    for (int i = 0; i < scale; i++)
        factor *= 10;
    return arena_textf(a, "{ type = \"scaled_float\", scaling_factor = %lld }", factor);
}

/* ---- text ---- */

#define PROSE "{ type = \"text\" }"
/* what is longer than that is not searched by: a keyword above 32,766 bytes would be an error */
#define LONG_CODE "{ type = \"keyword\", ignore_above = 1024 }"

static bool is_text(const struct catalog_column *c)
{
    return strcmp(c->base, "text") == 0 || strcmp(c->base, "varchar") == 0 ||
           strcmp(c->base, "citext") == 0;
}

static const char *text_mapping(const struct catalog_column *c)
{
    char name[PLAIN_NAME];
    int length = c->modifier - VARHDRSZ; /* below 0: not limited */
    plain_name(c->name, name);
    bool named = strstr(name, "name") || strstr(name, "title");
    if (is_code(name) && !named)
        return length >= 0 && length <= 1024 ? KEYWORD : LONG_CODE;
    if (is_prose(name))
        return PROSE;
    return length >= 0 && length <= SHORT_TEXT && !named ? KEYWORD : COLUMN_TYPE_TEXT;
}

/* ---- types of extensions ---- */

/* geometry(Point,4326): a point by longitude and latitude. */
static void set_geo_type(struct arena *a, const struct catalog_column *c, struct column_type *out)
{
    bool point = strcasestr(c->type, "(point"), geography = strcmp(c->base, "geography") == 0;
    const char *cast = geography ? "::geometry" : "";
    bool degrees = geography || strstr(c->type, "4326") || !strchr(c->type, ',');
    const char *place = degrees ? arena_textf(a, "\1%s", cast) : "ST_Transform(\1, 4326)";
    if (point) {
        out->mapping = "{ type = \"geo_point\" }";
        out->expression = arena_textf(a,
                                      "CASE WHEN \1 IS NOT NULL THEN json_build_object('lat', "
                                      "ST_Y(%s), 'lon', ST_X(%s)) END",
                                      place, place);
    } else {
        out->mapping = "{ type = \"geo_shape\", ignore_malformed = true }";
        out->expression = arena_textf(a, "ST_AsGeoJSON(%s)::json", place);
    }
}

static bool set_extension_type(struct arena *a, const struct catalog_column *c,
                               struct column_type *out)
{
    static const char *const vectors[] = {"vector", "halfvec", "sparsevec", NULL};
    if (strcmp(c->base, "geometry") == 0 || strcmp(c->base, "geography") == 0) {
        set_geo_type(a, c, out);
    } else if (strcmp(c->base, "hstore") == 0) {
        out->mapping = OPAQUE;
        out->expression = "\1::json";
    } else if (contains_any(c->base, vectors) || strcmp(c->base, "raster") == 0) {
        out->left_out = arena_textf(a, "a %s", c->base);
    } else {
        return false;
    }
    return true;
}

/* ---- all of it ---- */

static void set_scalar(struct arena *a, const struct catalog_column *c, struct column_type *out)
{
    bool own = strcmp(c->schema, "pg_catalog") == 0;
    const struct type_row *t = own ? find_type(c) : NULL;
    if (t) {
        out->mapping = t->mapping;
        out->expression = t->expression;
        out->left_out = t->left_out;
    } else if (own && strcmp(c->base, "numeric") == 0) {
        out->mapping = numeric_mapping(a, c);
    } else if (c->kind == 'c') {
        out->mapping = OPAQUE;
        out->expression = "to_json(\1)";
    } else if (is_text(c)) {
        out->mapping = text_mapping(c);
    } else if (c->kind != 'b' || own || !set_extension_type(a, c, out)) {
        out->mapping = KEYWORD;
        if (own && strcmp(c->base, "bpchar") == 0 && c->modifier > VARHDRSZ + 1)
            out->expression = "\1::text"; /* without the spaces that fill it up */
    }
}

/* An array's elements are not converted one by one, where they would have to be. */
static void set_array(struct arena *a, const struct catalog_column *c, struct column_type *out)
{
    set_scalar(a, c, out);
    if (strcmp(c->base, "bpchar") == 0)
        out->expression = NULL;
    if (is_text(c)) /* labels more often than texts */
        out->mapping = LONG_CODE;
    if (out->left_out || !out->expression)
        return;
    if (c->kind == 'c' || strcmp(c->base, "hstore") == 0) {
        out->mapping = OPAQUE;
        out->expression = "to_json(\1)";
    } else if (strcmp(c->base, "inet") == 0 || strcmp(c->base, "money") == 0) {
        out->mapping = KEYWORD;
        out->expression = NULL;
    } else {
        out->left_out = arena_textf(a, "an array of %s", c->type);
    }
}

void column_type_of(struct arena *a, const struct catalog_column *c, bool key,
                    struct column_type *out)
{
    *out = (struct column_type){0};
    if (c->array)
        set_array(a, c, out);
    else
        set_scalar(a, c, out);
    if (key && is_text(c))
        out->mapping = c->modifier > VARHDRSZ ? KEYWORD : LONG_CODE;
    if (key)
        out->expression = NULL;
    else if (is_secret(c))
        out->left_out = "it looks like a secret";
}

/* ---- cursors ---- */

static bool is_time(const struct catalog_column *c)
{
    return !c->array && strcmp(c->schema, "pg_catalog") == 0 &&
           (strcmp(c->base, "timestamptz") == 0 || strcmp(c->base, "timestamp") == 0);
}

/* How well a column says when its row last changed: 0: not at all; more is better. */
static int cursor_score(const struct catalog_column *c)
{
    static const char *const exact[] = {
        "modified",     "updated",     "modifiedat",   "updatedat",   "lastmodified", "lastupdated",
        "lastupdate",   "updatetime",  "modifieddate", "updateddate", "modifiedon",   "updatedon",
        "datemodified", "dateupdated", "mtime",        "changed",     "changedat",    NULL};
    static const char *const parts[] = {"modif", "updat", "lastchange", NULL};
    char name[PLAIN_NAME];
    plain_name(c->name, name);
    int score = 0;
    if (!is_time(c) || !c->readable)
        return 0;
    for (const char *const *e = exact; *e && !score; e++)
        score = strcmp(*e, name) == 0 ? 4 : 0;
    if (!score && contains_any(name, parts))
        score = 1;
    if (score)
        score = score * 4 + 2 * c->not_null + (strcmp(c->base, "timestamptz") == 0);
    return score;
}

const struct catalog_column *column_best_cursor(const struct catalog_table *t)
{
    const struct catalog_column *best = NULL;
    int best_score = 0;
    for (size_t i = 0; i < t->n_columns; i++) {
        struct catalog_columns c = {1, {i}};
        int score = 2 * cursor_score(&t->columns[i]);
        if (score > 0 && catalog_has_index(t, &c))
            score += 3;
        if (score > best_score) {
            best = &t->columns[i];
            best_score = score;
        }
    }
    return best;
}

bool column_is_bookkeeping(const struct catalog_column *c)
{
    static const char *const exact[] = {"created",     "createdat",    "createdon",  "createddate",
                                        "createdtime", "creationtime", "insertedat", "datecreated",
                                        "createdate",  "createtime",   "ctime"};
    char name[PLAIN_NAME];
    plain_name(c->name, name);
    if (!is_time(c))
        return false;
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++)
        if (strcmp(exact[i], name) == 0)
            return true;
    return cursor_score(c) > 0;
}
