/* pg_ahead: rows that arrive while nobody asks for them.
 *
 * libpq keeps what it reads in a buffer that grows as needed, and PQconsumeInput alone does not
 * look at it: so pg_next meets the same rows and the same errors, in the same order, as if they had
 * waited in the socket. Only how many bytes they are is counted here: added when they arrive,
 * subtracted when pg_next returns the row. */
#include "pg/pg_internal.h"

#include <sys/ioctl.h>

/* As the protocol writes a row: its type and length, and how many fields it has. */
enum { ROW_HEAD = 7, FIELD_HEAD = 4 };

int pg_ahead_fd(const struct pg *pg, size_t most)
{
    if (!pg->streaming || pg->broken || pg->ahead_over || pg->ahead >= most)
        return -1;
    return PQsocket(pg->conn);
}

void pg_read_ahead(struct pg *pg)
{
    int bytes = 0;
    if (ioctl(PQsocket(pg->conn), FIONREAD, &bytes) != 0 || bytes <= 0 || PQflush(pg->conn) < 0 ||
        !PQconsumeInput(pg->conn))
        pg->ahead_over = true;
    else
        pg->ahead += (size_t)bytes;
}

void pg_ahead_passed(struct pg *pg, const PGresult *row)
{
    size_t bytes = ROW_HEAD;
    if (pg->ahead == 0)
        return;
    for (int i = 0; i < PQnfields(row); i++)
        bytes += FIELD_HEAD + (size_t)PQgetlength(row, 0, i);
    pg->ahead -= bytes < pg->ahead ? bytes : pg->ahead;
}
