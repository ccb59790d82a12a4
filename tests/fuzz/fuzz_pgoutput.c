/* A message is refused, or every part of it can be looked at: values, columns and tables lie within
 * it, and there are as many as it says.
 */
#include "base/err.h"
#include "fuzz.h"
#include "pg/pgoutput.h"

static const uint8_t *begin, *end;

static void look_at_row(const struct pgoutput_row *row)
{
    struct pgoutput_value v;
    int i = 0;
    for (; i < 100 && pgoutput_value(row, i, &v); i++)
        if (v.kind == PGOUTPUT_TEXT && v.len > 0)
            CLAIM((const uint8_t *)v.text >= begin && (const uint8_t *)v.text + v.len <= end);
    CLAIM(i == row->n || i == 100);
}

static void look_at_lists(const struct pgoutput_event *event)
{
    struct pgoutput_column c;
    int i = 0;
    for (; i < 100 && pgoutput_column(event, i, &c); i++)
        CLAIM((const uint8_t *)c.name + strlen(c.name) < end);
    CLAIM(event->kind != PGOUTPUT_RELATION || i == event->n || i == 100);
    for (i = 0; event->kind == PGOUTPUT_TRUNCATE && i < event->n; i++)
        (void)pgoutput_truncated(event, i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgoutput_event event;
    struct err e = {0};
    begin = data;
    end = data + size;
    if (!pgoutput_read(data, size, &event, &e)) {
        CLAIM(e.kind == ERR_FINAL && *e.text);
        return 0;
    }
    look_at_row(&event.old_row);
    look_at_row(&event.new_row);
    look_at_lists(&event);
    return 0;
}
