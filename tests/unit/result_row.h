/* result_row: for tests of what rows become: a row of a result, as if a server had sent it.
 *
 *     struct row row;
 *     row_make(&row, (struct cell[]){{"id", PG_INT, false, "7"}, {"v", PG_TEXT, true, "{a}"}}, 2);
 *     PQclear(row.res);
 */
#pragma once
#include "pg/pg.h"

#include <string.h>

enum { COLUMNS = 8 };

struct row {
    struct pg_column list[COLUMNS];
    struct pg_columns columns;
    PGresult *res;
};

struct cell {
    const char *name;
    enum pg_kind kind;
    bool array;
    const char *text; /* NULL is NULL */
};

static void row_make(struct row *row, const struct cell *cells, size_t n)
{
    PGresAttDesc attributes[COLUMNS] = {0};
    memset(row, 0, sizeof *row);
    row->columns = (struct pg_columns){row->list, n, 0};
    row->res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    for (size_t i = 0; i < n; i++) {
        char *name = (char *)(uintptr_t)cells[i].name;
        row->list[i] = (struct pg_column){
            name, 25, cells[i].kind, cells[i].array, false, ',', (char *)(uintptr_t) "some type"};
        attributes[i].name = name;
        attributes[i].typid = 25;
        attributes[i].typlen = -1;
    }
    assert_true(PQsetResultAttrs(row->res, (int)n, attributes));
    for (size_t i = 0; i < n; i++) {
        char *text = (char *)(uintptr_t)cells[i].text;
        assert_true(PQsetvalue(row->res, 0, (int)i, text, text ? (int)strlen(text) : -1));
    }
}
