/* Templates of any shape: what they give is what the function of the row gives that does the
 * same. */
#include "base/err.h"
#include "base/log.h"
#include "fuzz.h"
#include "lua/row.h"
#include "script/script.h"

enum { NAMES = 6, COLUMNS = 4, VALUES = 6, MOST = 200, DEPTH = 20 };

static char *const columns_of[COLUMNS] = {"id", "title", "tags", "data"};
static struct pg_column list[] = {{"id", 20, PG_INT, false, true, ',', "bigint"},
                                  {"title", 25, PG_TEXT, false, true, ',', "text"},
                                  {"tags", 1009, PG_TEXT, true, true, ',', "text[]"},
                                  {"data", 17, PG_BYTEA, false, true, ',', "bytea"}};
static const struct pg_columns columns = {list, COLUMNS, 0};

static PGresult *make_row(bool full)
{
    static char *const cells[] = {"7", "A \"title\"", "{a,NULL,\"b\\\"\"}", "\\x41c3"};
    PGresAttDesc attributes[COLUMNS] = {{.name = "id", .typid = 20},
                                        {.name = "title", .typid = 25},
                                        {.name = "tags", .typid = 1009},
                                        {.name = "data", .typid = 17}};
    PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    CLAIM(res && PQsetResultAttrs(res, COLUMNS, attributes));
    for (int i = 0; i < COLUMNS; i++)
        CLAIM(PQsetvalue(res, 0, i, cells[i], full || i == 0 ? (int)strlen(cells[i]) : -1));
    return res;
}

/* Two bytes are a field; the same one in both forms. */
static void write_both(const uint8_t *data, size_t size, struct buf *template, struct buf *function)
{
    static const char *const names[NAMES] = {"a", "b", "ab", "z", "['x y']", "['a.b']"};
    static const char *const values[VALUES] = {"nil", "r.title", "{ r.tags, 5 }",
                                               "1.5", "{}",      "print"};
    int depth = 0;
    for (size_t at = 0; at + 2 <= size && at < (size_t)MOST * 2; at += 2) {
        const char *name = names[data[at] % NAMES];
        const char *column = columns_of[data[at + 1] / 4 % COLUMNS];
        const char *value = values[data[at + 1] / 4 % VALUES];
        switch (data[at + 1] % 4) {
        case 0:
            buf_addf(template, "%s = '%s',\n", name, column);
            buf_addf(function, "%s = r.%s,\n", name, column);
            break;
        case 1:
            buf_addf(template, "%s = function(r) return %s end,\n", name, value);
            buf_addf(function, "%s = %s,\n", name, value);
            break;
        case 2:
            if (depth == DEPTH)
                break;
            depth++;
            buf_addf(template, "%s = { z = '%s',\n", name, column);
            buf_addf(function, "%s = { z = r.%s,\n", name, column);
            break;
        default:
            buf_adds(template, depth > 0 ? "},\n" : "");
            buf_adds(function, depth > 0 ? "},\n" : "");
            depth -= depth > 0;
        }
    }
    for (; depth > 0; depth--) {
        buf_adds(template, "}");
        buf_adds(function, "}");
    }
}

/* Opens a script with that document; NULL if it cannot be. */
static struct script *open_script(struct script_text *t, struct buf *document)
{
    struct err e;
    *t = (struct script_text){.path = strdup("x.lua")};
    buf_init(&t->text, 1 << 20);
    buf_addf(&t->text, "return { document = %s }", buf_cstr(document));
    CLAIM(t->path && !t->text.failed);
    struct script *s = script_open(t, &e);
    CLAIM(s);
    CLAIM(script_check(s, &columns, &e));
    return s;
}

static void compare(struct script *a, struct script *b, bool full)
{
    struct buf one, other;
    struct script_made made;
    struct err e;
    PGresult *res = make_row(full);
    struct script_row row = {&columns, res, 0, "7"};
    buf_init(&one, 1 << 20);
    buf_init(&other, 1 << 20);
    bool ok = script_document(a, &row, &one, &made, &e);
    CLAIM(ok == script_document(b, &row, &other, &made, &e));
    CLAIM(one.len == other.len && (!ok || memcmp(one.data, other.data, one.len) == 0));
    buf_free(&one);
    buf_free(&other);
    PQclear(res);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf template, function;
    struct script_text texts[2];
    log_setup(&(struct log_options){.level = LOG_ERROR});
    buf_init(&template, 1 << 20);
    buf_init(&function, 1 << 20);
    buf_adds(&template, "{ first = 'id',\n");
    buf_adds(&function, "function(r) return { first = r.id,\n");
    write_both(data, size, &template, &function);
    buf_adds(&template, "}");
    buf_adds(&function, "} end");
    struct script *a = open_script(&texts[0], &template), *b = open_script(&texts[1], &function);
    compare(a, b, true);
    compare(a, b, false);
    script_close(a);
    script_close(b);
    script_text_free(&texts[0]);
    script_text_free(&texts[1]);
    buf_free(&template);
    buf_free(&function);
    return 0;
}
