#include "feed/wal_writer.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/repeats.h"
#include "feed/wal_keys.h"
#include "feed/wal_share.h"
#include "pg/pgoutput.h"
#include "store/journal.h"

#include <stdlib.h>
#include <string.h>

enum { RECORD = 64 << 10 }; /* bytes of keys; more begin another record */

struct wal_writer {
    struct journal *journal;
    struct wal_keys *keys;
    char **labels;
    size_t n_labels;
    struct wal_writer_help help;
    bool has;   /* the journal has the transaction already */
    bool wrote; /* something of the transaction is appended */
    struct pgoutput_event begin;
    enum wal_kind kind; /* of the keys that are not appended yet */
    size_t table, n;
    struct buf block, mark;
    bool unsynced;
};

/* ---- the journal ---- */

static bool append(struct wal_writer *w, const struct journal_record *record, struct err *e)
{
    for (bool first = true; !journal_append(w->journal, record, e); first = false)
        if (e->kind != ERR_PASSING || !w->help.wait(w->help.arg, first, e))
            return false;
    w->unsynced = true;
    return true;
}

/* Writes what is collected. lsn: 0: more of the transaction follows. */
static bool append_block(struct wal_writer *w, uint64_t lsn, struct err *e)
{
    if (w->block.failed)
        return err_memory(e);
    const struct journal_record record = {.xid = w->begin.xid,
                                          .lsn = lsn,
                                          .commit_us = w->begin.commit_us,
                                          .kind = w->kind,
                                          .label = w->labels[w->table],
                                          .keys = w->block.data,
                                          .keys_len = w->block.len,
                                          .n = w->n};
    bool ok = append(w, &record, e);
    w->wrote = true;
    buf_clear(&w->block);
    w->n = 0;
    w->kind = 0;
    return ok;
}

/* Whether the transaction has announced that key before. */
static bool is_repeated(struct wal_writer *w, enum wal_kind kind, size_t table, const char *key)
{
    buf_clear(&w->mark);
    /* a root's key is the same document, whichever table announces it */
    buf_addf(&w->mark, "%p %d %zu ", (void *)w, (int)kind, kind == WAL_ROOT ? 0 : table);
    buf_adds(&w->mark, key);
    return !w->mark.failed && repeats_add(w->help.repeats, w->mark.data, w->mark.len);
}

static bool announce(void *arg, enum wal_kind kind, size_t table, const char *key, struct err *e)
{
    struct wal_writer *w = arg;
    size_t len = key ? strlen(key) + 1 : 0;
    if (key && is_repeated(w, kind, table, key))
        return true;
    bool other = w->kind != kind || (w->table != table && kind != WAL_ROOT);
    if (w->kind != 0 && (other || w->block.len + len > RECORD) && !append_block(w, 0, e))
        return false;
    if (len > JOURNAL_RECORD_MAX / 2)
        return err_set(e, ERR_FINAL, "cannot follow table '%s': a key has %zu bytes",
                       w->labels[table], len);
    if (w->kind == 0) {
        w->kind = kind;
        w->table = table;
    }
    buf_add(&w->block, key, len);
    w->n += key != NULL;
    return true;
}

/* ---- events ---- */

static void begin_transaction(struct wal_writer *w, const struct pgoutput_event *event)
{
    w->begin = *event;
    w->has = wal_share_has(journal_lsn(w->journal), event->lsn);
    w->wrote = false;
    w->kind = 0;
    w->n = 0;
    buf_clear(&w->block);
}

static bool end_transaction(struct wal_writer *w, const struct pgoutput_event *event, bool *wrote,
                            struct err *e)
{
    if (w->kind == 0 && w->wrote) /* the last record says where the transaction ends */
        w->kind = WAL_ROOT;
    if (w->kind != 0 && !append_block(w, event->end, e))
        return false;
    *wrote = w->wrote;
    return true;
}

bool wal_writer_event(struct wal_writer *w, const struct pgoutput_event *event, bool *wrote,
                      struct err *e)
{
    if (event->kind == PGOUTPUT_BEGIN)
        begin_transaction(w, event);
    if (event->kind == PGOUTPUT_COMMIT)
        return end_transaction(w, event, wrote, e);
    return (w->has && event->kind != PGOUTPUT_RELATION) ||
           wal_keys_event(w->keys, event, announce, w, e);
}

static bool append_position(struct wal_writer *w, uint64_t lsn, struct err *e)
{
    const struct journal_record record = {
        .lsn = lsn, .kind = WAL_POSITION, .label = "", .keys = ""};
    return append(w, &record, e);
}

bool wal_writer_settle(struct wal_writer *w, uint64_t lsn, struct err *e)
{
    return lsn <= journal_lsn(w->journal) || append_position(w, lsn, e);
}

bool wal_writer_sync(struct wal_writer *w, struct err *e)
{
    if (w->unsynced && !journal_sync(w->journal, e))
        return false;
    w->unsynced = false;
    return true;
}

void wal_writer_begin(struct wal_writer *w, const struct wal_writer_help *help)
{
    w->help = *help;
    w->has = false;
    w->wrote = false;
    w->kind = 0;
    wal_keys_forget(w->keys);
}

/* ---- what it has ---- */

uint64_t wal_writer_lsn(const struct wal_writer *w)
{
    return journal_lsn(w->journal);
}

uint64_t wal_writer_bytes(const struct wal_writer *w)
{
    return journal_bytes(w->journal);
}

bool wal_writer_is_outdated(const struct wal_writer *w, struct err *e)
{
    return wal_keys_is_outdated(w->keys, e);
}

static bool copy_labels(struct wal_writer *w, const struct wal_writer_config *config)
{
    w->labels = calloc(config->n_labels, sizeof *w->labels);
    if (!w->labels)
        return false;
    w->n_labels = config->n_labels;
    for (size_t i = 0; i < w->n_labels; i++)
        if (!(w->labels[i] = strdup(config->labels[i])))
            return false;
    return true;
}

struct wal_writer *wal_writer_new(const struct wal_writer_config *config, struct err *e)
{
    struct wal_writer *w = calloc(1, sizeof *w);
    if (!w) {
        journal_close(config->journal);
        wal_keys_free(config->keys);
        err_memory(e);
        return NULL;
    }
    w->journal = config->journal;
    w->keys = config->keys;
    buf_init(&w->block, JOURNAL_RECORD_MAX / 2 + RECORD);
    buf_init(&w->mark, JOURNAL_RECORD_MAX);
    if (copy_labels(w, config))
        return w;
    wal_writer_free(w);
    err_memory(e);
    return NULL;
}

void wal_writer_free(struct wal_writer *w)
{
    if (!w)
        return;
    journal_close(w->journal);
    wal_keys_free(w->keys);
    for (size_t i = 0; i < w->n_labels; i++)
        free(w->labels[i]);
    free(w->labels);
    buf_free(&w->block);
    buf_free(&w->mark);
    free(w);
}
