#include "pg/pgoutput.h"

#include "base/err.h"

#include <assert.h>
#include <string.h>

/* What is left of a message. The first thing that does not fit sets `bad`; from then on every read
 * gives zero, so that the caller asks once, at the end. */
struct reader {
    const unsigned char *at, *end;
    bool bad;
};

static const unsigned char *read_bytes(struct reader *r, size_t n)
{
    if (r->bad || n > (size_t)(r->end - r->at)) {
        r->bad = true;
        return NULL;
    }
    r->at += n;
    return r->at - n;
}

static uint64_t read_number(struct reader *r, size_t bytes)
{
    const unsigned char *p = read_bytes(r, bytes);
    uint64_t n = 0;
    for (size_t i = 0; p && i < bytes; i++)
        n = n << 8 | p[i];
    return n;
}

static uint32_t read_oid(struct reader *r)
{
    return (uint32_t)read_number(r, 4);
}

/* A count of 16 bits; a negative one does not fit anything. */
static int read_count(struct reader *r)
{
    uint64_t n = read_number(r, 2);
    r->bad |= n > INT16_MAX;
    return r->bad ? 0 : (int)n;
}

static const char *read_string(struct reader *r)
{
    const unsigned char *zero = r->bad ? NULL : memchr(r->at, '\0', (size_t)(r->end - r->at));
    if (!zero) {
        r->bad = true;
        return "";
    }
    return (const char *)read_bytes(r, (size_t)(zero - r->at) + 1);
}

/* The clock of a damaged message may be anything; the sum must not overflow. */
static int64_t read_time(struct reader *r)
{
    int64_t us = (int64_t)read_number(r, 8);
    return us > INT64_MAX - PGOUTPUT_EPOCH_US ? INT64_MAX : us + PGOUTPUT_EPOCH_US;
}

static void read_value(struct reader *r, struct pgoutput_value *v)
{
    *v = (struct pgoutput_value){.kind = PGOUTPUT_NULL};
    switch (read_number(r, 1)) {
    case PGOUTPUT_NULL:
        return;
    case PGOUTPUT_UNCHANGED:
        v->kind = PGOUTPUT_UNCHANGED;
        return;
    case PGOUTPUT_TEXT:
        v->kind = PGOUTPUT_TEXT;
        v->len = (size_t)read_number(r, 4);
        v->text = (const char *)read_bytes(r, v->len);
        return;
    default: /* also 'b', binary, which is not asked for */
        r->bad = true;
    }
}

static struct pgoutput_row read_row(struct reader *r)
{
    struct pgoutput_row row = {.n = read_count(r)};
    struct pgoutput_value v;
    row.at = r->at;
    for (int i = 0; i < row.n && !r->bad; i++)
        read_value(r, &v);
    row.len = (size_t)(r->at - row.at);
    return row;
}

static void read_column(struct reader *r, struct pgoutput_column *c)
{
    c->is_key = read_number(r, 1) & 1;
    c->name = read_string(r);
    c->type = read_oid(r);
    read_number(r, 4); /* the type's modifier: nothing here depends on it */
}

static void read_relation(struct reader *r, struct pgoutput_event *event)
{
    struct pgoutput_column c;
    event->relation = read_oid(r);
    event->schema = read_string(r);
    event->name = read_string(r);
    event->identity = (char)read_number(r, 1);
    event->n = read_count(r);
    event->list = r->at;
    for (int i = 0; i < event->n && !r->bad; i++)
        read_column(r, &c);
    event->list_len = (size_t)(r->at - event->list);
}

static void read_new_row(struct reader *r, struct pgoutput_event *event)
{
    r->bad |= read_number(r, 1) != 'N';
    event->new_row = read_row(r);
}

static void read_old_row(struct reader *r, struct pgoutput_event *event)
{
    event->old = read_number(r, 1) == 'K' ? PGOUTPUT_OLD_KEY : PGOUTPUT_OLD_ROW;
    event->old_row = read_row(r);
}

static bool has_old_row(const struct reader *r)
{
    return !r->bad && r->at < r->end && (*r->at == 'K' || *r->at == 'O');
}

static void read_update(struct reader *r, struct pgoutput_event *event)
{
    event->relation = read_oid(r);
    if (has_old_row(r))
        read_old_row(r, event);
    read_new_row(r, event);
}

static void read_delete(struct reader *r, struct pgoutput_event *event)
{
    event->relation = read_oid(r);
    if (has_old_row(r))
        read_old_row(r, event);
    else
        r->bad = true;
}

static void read_truncate(struct reader *r, struct pgoutput_event *event)
{
    uint64_t n = read_number(r, 4), options = read_number(r, 1);
    event->cascade = options & 1;
    event->restart = options & 2;
    event->list = r->at;
    r->bad |= n > (uint64_t)(r->end - r->at) / 4;
    event->n = r->bad ? 0 : (int)n;
    event->list_len = (size_t)event->n * 4;
    read_bytes(r, event->list_len);
}

static void read_begin(struct reader *r, struct pgoutput_event *event)
{
    event->lsn = read_number(r, 8);
    event->commit_us = read_time(r);
    event->xid = (uint32_t)read_number(r, 4);
}

static void read_commit(struct reader *r, struct pgoutput_event *event)
{
    read_number(r, 1); /* flags, of which there are none yet */
    event->lsn = read_number(r, 8);
    event->end = read_number(r, 8);
    event->commit_us = read_time(r);
}

static void read_message(struct reader *r, struct pgoutput_event *event)
{
    read_number(r, 1); /* whether it belongs to the transaction */
    event->lsn = read_number(r, 8);
    event->name = read_string(r);
    read_bytes(r, (size_t)read_number(r, 4));
}

/* False: no message begins like that. */
static bool read_body(struct reader *r, struct pgoutput_event *event)
{
    switch (event->kind) {
    case PGOUTPUT_BEGIN:
        return read_begin(r, event), true;
    case PGOUTPUT_COMMIT:
        return read_commit(r, event), true;
    case PGOUTPUT_ORIGIN:
        event->lsn = read_number(r, 8);
        event->name = read_string(r);
        return true;
    case PGOUTPUT_RELATION:
        return read_relation(r, event), true;
    case PGOUTPUT_TYPE:
        event->relation = read_oid(r);
        event->schema = read_string(r);
        event->name = read_string(r);
        return true;
    case PGOUTPUT_INSERT:
        event->relation = read_oid(r);
        return read_new_row(r, event), true;
    case PGOUTPUT_UPDATE:
        return read_update(r, event), true;
    case PGOUTPUT_DELETE:
        return read_delete(r, event), true;
    case PGOUTPUT_TRUNCATE:
        return read_truncate(r, event), true;
    case PGOUTPUT_MESSAGE:
        return read_message(r, event), true;
    }
    return false;
}

bool pgoutput_read(const void *data, size_t len, struct pgoutput_event *event, struct err *e)
{
    struct reader r = {.at = data, .end = (const unsigned char *)data + len};
    *event = (struct pgoutput_event){.schema = "", .name = ""};
    event->kind = (enum pgoutput_kind)read_number(&r, 1);
    if (len > 0 && !read_body(&r, event))
        return err_set(e, ERR_FINAL, "cannot read the log: it has a message of type %#x",
                       (unsigned)event->kind);
    if (r.bad || r.at != r.end)
        return err_set(e, ERR_FINAL, "cannot read the log: a message of type %#x is damaged",
                       (unsigned)event->kind);
    return true;
}

bool pgoutput_value(const struct pgoutput_row *row, int i, struct pgoutput_value *value)
{
    if (i < 0 || i >= row->n)
        return false;
    struct reader r = {.at = row->at, .end = row->at + row->len};
    for (int k = 0; k <= i; k++)
        read_value(&r, value);
    assert(!r.bad);
    return true;
}

/* Of an event that has one. */
static struct reader list_of(const struct pgoutput_event *event)
{
    return (struct reader){.at = event->list, .end = event->list + event->list_len};
}

bool pgoutput_column(const struct pgoutput_event *event, int i, struct pgoutput_column *column)
{
    if (event->kind != PGOUTPUT_RELATION || i < 0 || i >= event->n)
        return false;
    struct reader r = list_of(event);
    for (int k = 0; k <= i; k++)
        read_column(&r, column);
    assert(!r.bad);
    return true;
}

uint32_t pgoutput_truncated(const struct pgoutput_event *event, int i)
{
    if (event->kind != PGOUTPUT_TRUNCATE || i < 0 || i >= event->n)
        return 0;
    struct reader r = list_of(event);
    read_bytes(&r, 4 * (size_t)i);
    return read_oid(&r);
}
