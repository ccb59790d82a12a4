#include "init/init.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "init/candidates.h"
#include "init/catalog.h"
#include "init/safe_url.h"
#include "init/write.h"
#include "pg/pg_pool.h"

#include <stdio.h>
#include <string.h>

enum { OUTPUT_MAX = 16 << 20 }; /* bytes */

static bool list_tables(struct catalog *c, struct buf *out, struct err *e)
{
    const char *first;
    if (!candidates_list(c, out, &first, e))
        return false;
    if (!first)
        return err_set(e, ERR_USAGE, "database '%s' has no table that role '%s' may read",
                       c->database, c->role);
    log_info("choose a table, for example: etl-engine init URL %s", first);
    return true;
}

/* What the script cannot do before somebody has done something else. */
static void warn(const struct plan *p)
{
    if (p->wal && p->capture.n > 0)
        log_warn("capture from the write-ahead log is not possible yet: %s", p->capture.list[0]);
    if (p->key_guessed)
        log_warn("'%s' is a guess: nothing in the catalog says what identifies a row of '%s'",
                 p->root->table->columns[p->key.at[0]].name, p->root->table->name);
}

static bool print_script(const struct catalog *c, const char *url, const struct plan_options *o,
                         struct buf *out, struct err *e)
{
    struct plan p;
    bool had;
    if (!plan_make(&p, c, o, e))
        return false;
    const char *safe = safe_url(&p.arena, url, &had);
    bool ok = write_script(&p, &(struct write_options){safe, had}, out, e);
    if (ok)
        warn(&p);
    plan_free(&p);
    return ok;
}

/* There is no script yet, whose field source.url could be wrong. */
static bool name_url(struct err *e)
{
    static const char field[] = "source.url", here[] = "URL";
    char *const texts[] = {e->text, e->hint};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *at = strstr(texts[i], field), *rest = at ? at + sizeof field - 1 : NULL;
        if (!at)
            continue;
        memcpy(at, here, sizeof here - 1); /* which is shorter */
        memmove(at + sizeof here - 1, rest, strlen(rest) + 1);
    }
    return false;
}

static bool read_catalog(const char *url, struct catalog *c, struct err *e)
{
    struct pg_server server = {0};
    struct pg_pool pool;
    if (!pg_server_init(&server, url, e))
        return name_url(e);
    pg_pool_init(&pool, &server);
    struct pg *pg = pg_acquire(&pool, e);
    bool ok = pg && catalog_read(c, pg, e);
    pg_release(&pool, pg);
    pg_pool_free(&pool);
    pg_server_free(&server);
    return ok || name_url(e);
}

bool init_print(const char *url, const struct plan_options *options, struct err *e)
{
    struct catalog c;
    struct buf out;
    if (!read_catalog(url, &c, e))
        return false;
    buf_init(&out, OUTPUT_MAX);
    bool ok = options->table ? print_script(&c, url, options, &out, e) : list_tables(&c, &out, e);
    if (ok)
        fwrite(out.data, 1, out.len, stdout); /* main says so if it was not written */
    buf_free(&out);
    catalog_free(&c);
    return ok;
}
