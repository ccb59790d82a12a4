#include "run/run_chosen.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/keyset.h"
#include "base/log.h"
#include "base/text.h"
#include "index/index.h"
#include "run/run.h"
#include "run/run_state.h"

#include <stdio.h>
#include <string.h>

enum { LIST_MAX = 64 << 20 }; /* bytes */

struct gone {
    size_t n;
    char first[INDEX_NAME];
};

/* Copies the next "NAME=UUID" of a list. False: there is none. */
static bool next_entry(const char **list, char *out, size_t size)
{
    size_t len = strcspn(*list, ",");
    snprintf(out, size, "%.*s", (int)len, *list);
    *list += len + ((*list)[len] == ',');
    return len > 0;
}

static void cut_name(const char *entry, char name[INDEX_NAME])
{
    snprintf(name, INDEX_NAME, "%.*s", (int)strcspn(entry, "="), entry);
}

/* An index that the script does not name any more is of no interest. */
static bool is_of_interest(const struct run *r, const char *name)
{
    return strcmp(name, r->index.info.name) != 0 && pipeline_has_index(&r->user.pipeline, name);
}

static bool read_set(struct keyset *set, const char *list)
{
    char entry[INDEX_NAME + INDEX_UUID];
    while (next_entry(&list, entry, sizeof entry))
        if (!keyset_put(set, entry, NULL, 0))
            return false;
    return true;
}

static void find_gone(const struct run *r, const char *known, const struct keyset *now,
                      struct gone *gone)
{
    char entry[INDEX_NAME + INDEX_UUID], name[INDEX_NAME];
    while (next_entry(&known, entry, sizeof entry)) {
        cut_name(entry, name);
        if (keyset_has(now, entry) || !is_of_interest(r, name))
            continue;
        if (gone->n++ == 0)
            memcpy(gone->first, name, sizeof name);
    }
}

static bool compare(const struct run *r, const char *known, const char *now, struct gone *gone,
                    struct err *e)
{
    struct keyset *set = keyset_new(LIST_MAX);
    bool ok = set && read_set(set, now);
    if (ok)
        find_gone(r, known, set, gone);
    keyset_free(set);
    return ok || err_memory(e);
}

static void owe_sweep(struct run *r, const struct gone *gone)
{
    char others[60] = "";
    if (gone->n > 1)
        snprintf(others, sizeof others, " (and %zu more of sink.indices)", gone->n - 1);
    log_warn_with(LOG_FIELDS(log_text("index", gone->first)),
                  "%s: index '%s'%s was deleted or replaced: a sweep finds the documents that are "
                  "missing",
                  r->user.pipeline.name, gone->first, others);
    run_state_owe_sweep(&r->state);
}

/* The list that the next comparison begins with. */
static char **list_of(struct run *r)
{
    return r->index.chosen ? &r->index.chosen : &r->state.data.chosen;
}

static bool take(struct run *r, const char *now, struct err *e)
{
    struct gone gone = {0};
    const char *known = *list_of(r);
    if (known && strcmp(known, now) == 0)
        return true;
    if (known && !compare(r, known, now, &gone, e))
        return false;
    if (gone.n > 0)
        owe_sweep(r, &gone);
    coordinator_must_save(&r->work.coordinator);
    char **list = gone.n > 0 ? &r->index.chosen : list_of(r);
    return text_set(list, now) || err_memory(e);
}

bool run_check_chosen(struct run *r, struct err *e)
{
    const struct pipeline *p = &r->user.pipeline;
    struct buf now;
    if (!p->sink.multi_index || !run_state_to_save(r))
        return true;
    buf_init(&now, LIST_MAX);
    bool ok = index_list(r->servers.es, p->sink.indices, &now, e);
    if (ok && !buf_cstr(&now))
        ok = err_memory(e);
    ok = ok && take(r, buf_cstr(&now), e);
    buf_free(&now);
    return ok;
}

bool run_lacks_chosen(const struct run *r)
{
    return r->index.chosen != NULL;
}

void run_forget_chosen(struct run *r)
{
    text_set(&r->index.chosen, NULL);
    text_set(&r->state.data.chosen, NULL);
}

bool run_chosen_swept(struct run *r, struct err *e)
{
    if (!r->index.chosen || r->state.data.swept_us == 0) /* it began too early */
        return true;
    bool ok = text_set(&r->state.data.chosen, r->index.chosen);
    return text_set(&r->index.chosen, NULL) && (ok || err_memory(e));
}
