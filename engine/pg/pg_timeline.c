#include "pg/pg_timeline.h"

#include "pg/pg_replication.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool read_number(const char *text, int base, uint64_t max, const char **end, uint64_t *out)
{
    char *after;
    errno = 0;
    *out = strtoull(text, &after, base);
    *end = after;
    return strspn(text, "0123456789ABCDEFabcdef") > 0 && after != text && errno == 0 && *out <= max;
}

bool pg_timeline_read(const char *server, struct pg_timeline *out)
{
    uint64_t id;
    const char *end;
    *out = (struct pg_timeline){0};
    if (!read_number(server, 10, UINT64_MAX, &end, &out->system) || *end != '-' ||
        !read_number(end + 1, 16, UINT32_MAX, &end, &id) || (*end != '-' && *end != '\0'))
        return false;
    out->id = (uint32_t)id;
    return true;
}

/* "1<tab>0/5000060": the timeline, and where it ends. */
static bool read_line(const char *line, size_t len, uint64_t *id, uint64_t *lsn)
{
    char position[PG_LSN_TEXT];
    const char *end;
    if (!read_number(line, 10, UINT32_MAX, &end, id) || *end != '\t')
        return false;
    end++;
    size_t n = strcspn(end, "\t\n");
    if (n >= sizeof position || end + n > line + len)
        return false;
    memcpy(position, end, n);
    position[n] = '\0';
    return pg_lsn_read(position, lsn);
}

bool pg_timeline_has(const char *history, uint32_t id, uint64_t lsn)
{
    uint64_t found, end;
    for (size_t len; *history; history += len + (history[len] == '\n')) {
        len = strcspn(history, "\n");
        if (read_line(history, len, &found, &end) && found == id)
            return lsn <= end;
    }
    return false;
}
