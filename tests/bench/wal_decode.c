/* wal_decode: how fast the write-ahead log becomes keys in a journal, with nobody who delivers
 * them. capture.py runs it.
 *
 *     DATABASE_URL=... wal_decode SLOT SCHEMA TABLE KEY LSN JOURNAL
 *
 * Reads the slot up to LSN, by the publication of the slot's name, and prints one line of JSON: the
 * keys that the journal has, the seconds that it took, and the CPU seconds of this process.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "feed/wal_keys.h"
#include "feed/wal_receiver.h"
#include "feed/wal_writer.h"
#include "pg/pg.h"
#include "pg/pg_replication.h"
#include "store/journal.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static sem_t news;

static void wake(void *arg)
{
    (void)arg;
    sem_post(&news);
}

static int fails(const char *what, const struct err *e)
{
    fprintf(stderr, "wal_decode: %s: %s\n", what, e->text);
    return 1;
}

static double cpu_s(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* Until all below `end` is in the journal. */
static int receive(const struct wal_receiver_config *config, struct wal_writer *writer,
                   uint64_t end)
{
    struct err e = {0};
    const struct wal_reader reader = {.wake = wake};
    struct wal_receiver *r = wal_receiver_new(config, &e);
    struct wal_member *m = r ? wal_receiver_add(r, "bench", UINT64_MAX, &e) : NULL;
    if (!m || !wal_member_join(m, writer, &reader, &e))
        return fails("cannot start", &e);
    for (; wal_member_received(m) < end && !wal_member_failed(m, &e); sem_wait(&news))
        wal_member_ask(m);
    wal_receiver_free(r);
    return e.kind == ERR_NONE ? 0 : fails("cannot receive", &e);
}

static int count_keys(const char *prefix, size_t *n)
{
    struct err e = {0};
    struct journal_record r;
    bool found;
    struct journal *journal = journal_open(prefix, (struct journal_position){0, 0}, &e);
    for (*n = 0; journal && journal_next(journal, &r, &found, &e) && found;)
        *n += r.n;
    journal_close(journal);
    return e.kind == ERR_NONE ? 0 : fails("cannot read the journal", &e);
}

static int measure(const struct wal_receiver_config *config, struct wal_writer *writer,
                   const char *prefix, uint64_t end)
{
    size_t keys;
    double cpu = cpu_s();
    int64_t begin = clock_mono_us();
    if (receive(config, writer, end) != 0)
        return 1;
    double wall = (double)(clock_mono_us() - begin) / 1e6;
    cpu = cpu_s() - cpu;
    if (count_keys(prefix, &keys) != 0)
        return 1;
    printf("{\"keys\": %zu, \"wall_s\": %.3f, \"cpu_s\": %.3f}\n", keys, wall, cpu);
    return 0;
}

int main(int argc, char **argv)
{
    struct pg_server server;
    struct err e = {0};
    const char *url = getenv("DATABASE_URL");
    uint64_t end;
    if (argc != 7 || !url || !pg_lsn_read(argv[5], &end)) {
        fprintf(stderr, "usage: DATABASE_URL=... wal_decode SLOT SCHEMA TABLE KEY LSN JOURNAL\n");
        return 2;
    }
    log_setup(&(struct log_options){.level = LOG_WARN});
    sem_init(&news, 0, 0);
    if (!pg_server_init(&server, url, &e))
        return fails("no server", &e);
    const char *key = argv[4], *label = argv[3];
    const struct wal_table table = {
        .schema = argv[2], .name = argv[3], .is_root = true, .key = {&key, 1}};
    struct wal_keys *keys = wal_keys_new();
    struct journal *journal = journal_open(argv[6], (struct journal_position){0, 0}, &e);
    int status = 1;
    if (!journal || !keys || !wal_keys_add(keys, &table, &e)) {
        fails("cannot start", &e);
    } else {
        const struct wal_writer_config writing = {journal, keys, &label, 1};
        const struct wal_receiver_config config = {
            .server = &server, .slot = argv[1], .publication = argv[1]};
        status = measure(&config, wal_writer_new(&writing, &e), argv[6], end);
    }
    pg_server_free(&server);
    return status;
}
