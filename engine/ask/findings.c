#include "ask/findings.h"

#include "ask/compare.h"
#include "base/err.h"
#include "base/grow.h"

#include <stdlib.h>
#include <string.h>

enum { VALUE_MAX = 400 }; /* bytes of a value in an example */

#define ELLIPSIS "\xE2\x80\xA6"

/* ---- owning ---- */

void findings_init(struct findings *f, size_t max_examples)
{
    *f = (struct findings){.max_examples = max_examples};
}

static void free_line(struct finding_line *l)
{
    free(l->path);
    free(l->before);
    free(l->after);
}

static void free_example(struct finding *x)
{
    for (size_t i = 0; i < x->n_lines; i++)
        free_line(&x->lines[i]);
    free(x->key);
    free(x->text);
}

void findings_free(struct findings *f)
{
    for (size_t i = 0; i < f->n_fields; i++)
        free(f->fields[i].name);
    for (size_t i = 0; i < f->n_examples; i++)
        free_example(&f->examples[i]);
    free(f->fields);
    free(f->examples);
    findings_init(f, f->max_examples);
}

uint64_t findings_count(const struct findings *f)
{
    uint64_t n = 0;
    for (int k = EXPLAIN_SAME + 1; k < EXPLAIN_KINDS; k++)
        n += f->kinds[k];
    return n;
}

uint64_t findings_checked(const struct findings *f)
{
    return findings_count(f) + f->kinds[EXPLAIN_SAME];
}

/* ---- judging ---- */

static void ignore(const struct compare_difference *d, void *arg)
{
    (void)d;
    (void)arg;
}

static struct compare_documents documents_of(const struct worker_pair *p, compare_visit *visit,
                                             void *arg)
{
    return (struct compare_documents){{p->held, p->held_len}, {p->made, p->made_len}, visit, arg};
}

bool findings_judge(const struct worker_pair *p, enum explain_kind *kind, struct err *e)
{
    bool same = true;
    *kind = EXPLAIN_SAME;
    if (p->failed)
        *kind = EXPLAIN_FAILED;
    else if (p->made && !p->found)
        *kind = EXPLAIN_MISSING;
    else if (!p->made && p->found)
        *kind = EXPLAIN_ORPHANED;
    else if (p->made && (!p->held || p->copies > 1 || p->routed))
        *kind = EXPLAIN_DIFFERENT;
    if (*kind != EXPLAIN_SAME || !p->made)
        return true;
    const struct compare_documents c = documents_of(p, ignore, NULL);
    if (!compare_documents(&c, &same, e))
        return false;
    *kind = same ? EXPLAIN_SAME : EXPLAIN_DIFFERENT;
    return true;
}

/* ---- counting ---- */

struct adding {
    struct findings *findings;
    struct finding *example; /* NULL: it is not one */
    uint64_t document;       /* its number */
    bool other, no_memory;
};

static struct finding_field *find_field(struct findings *f, const char *name)
{
    for (size_t i = 0; i < f->n_fields; i++)
        if (strcmp(f->fields[i].name, name) == 0)
            return &f->fields[i];
    return NULL;
}

/* NULL: no memory, or there are enough (*full). */
static struct finding_field *field_of(struct findings *f, const char *name, bool *full)
{
    struct finding_field *field = find_field(f, name);
    *full = !field && f->n_fields == FINDINGS_FIELDS;
    if (field || *full)
        return field;
    struct finding_field *list = grow(f->fields, f->n_fields, &f->fields_cap, 16, sizeof *list);
    char *copy = strdup(name);
    if (list)
        f->fields = list;
    if (!list || !copy) {
        free(copy);
        return NULL;
    }
    list[f->n_fields] = (struct finding_field){.name = copy};
    return &list[f->n_fields++];
}

/* A document counts once for a field, however many elements differ. */
static void count_field(struct adding *a, const char *name)
{
    bool full;
    struct finding_field *field = field_of(a->findings, name, &full);
    a->other |= full;
    a->no_memory |= !field && !full;
    if (field && field->last != a->document) {
        field->last = a->document;
        field->documents++;
    }
}

/* Owned by the caller; NULL: nothing, or no memory. A value is cut between characters. */
static char *copy_value(struct json_tree_text v)
{
    if (!v.at)
        return NULL;
    if (v.len <= VALUE_MAX)
        return strndup(v.at, v.len);
    size_t len = VALUE_MAX;
    while (len > 0 && ((unsigned char)v.at[len] & 0xC0) == 0x80)
        len--;
    char *text = malloc(len + sizeof ELLIPSIS);
    if (text) {
        memcpy(text, v.at, len);
        memcpy(text + len, ELLIPSIS, sizeof ELLIPSIS);
    }
    return text;
}

static void add_line(struct adding *a, const struct compare_difference *d)
{
    struct finding *x = a->example;
    if (x->n_lines == FINDINGS_LINES) {
        x->more++;
        return;
    }
    struct finding_line *l = &x->lines[x->n_lines++];
    *l = (struct finding_line){strdup(d->path), copy_value(d->before), copy_value(d->after)};
    a->no_memory |= !l->path || (d->before.at && !l->before) || (d->after.at && !l->after);
}

static void take_difference(const struct compare_difference *d, void *arg)
{
    struct adding *a = arg;
    count_field(a, *d->field ? d->field : "(the whole document)");
    if (a->example)
        add_line(a, d);
}

static void take_words(struct adding *a, const char *what)
{
    const struct compare_difference d = {.path = what, .field = what, .after = {"", 0}};
    take_difference(&d, a);
}

static bool add_different(struct adding *a, const struct worker_pair *p, struct err *e)
{
    bool same;
    const struct compare_documents c = documents_of(p, take_difference, a);
    if (!p->held)
        take_words(a, "(not stored by the index)");
    else if (!compare_documents(&c, &same, e))
        return false;
    if (p->copies > 1)
        take_words(a, "(another copy in another index or shard)");
    else if (p->routed)
        take_words(a, "(it has a _routing)");
    a->findings->other_fields += a->other;
    return true;
}

/* NULL: there are enough, or no memory (which a tells). */
static struct finding *begin_example(struct adding *a, const struct worker_pair *p)
{
    struct findings *f = a->findings;
    if (f->n_examples == f->max_examples)
        return NULL;
    if (!f->examples)
        f->examples = calloc(f->max_examples, sizeof *f->examples);
    a->no_memory |= !f->examples;
    if (!f->examples)
        return NULL;
    struct finding *x = &f->examples[f->n_examples++];
    *x = (struct finding){.key = strdup(p->key),
                          .text = p->failed ? strdup(p->failed) : NULL,
                          .held_version = p->found ? p->held_version : 0};
    a->no_memory |= !x->key || (p->failed && !x->text);
    return x;
}

bool findings_add(struct findings *f, const struct explain *x, enum explain_kind kind,
                  const struct worker_pair *p, struct err *e)
{
    f->kinds[kind]++;
    if (kind == EXPLAIN_SAME)
        return true;
    enum explain_reason reason = explain_reason(x, kind, p);
    f->reasons[reason]++;
    struct adding a = {.findings = f, .document = findings_checked(f)};
    if ((a.example = begin_example(&a, p))) {
        a.example->kind = kind;
        a.example->reason = reason;
    }
    if (kind == EXPLAIN_DIFFERENT && !add_different(&a, p, e))
        return false;
    return !a.no_memory || err_memory(e);
}

/* ---- moving ---- */

static bool move_fields(struct findings *to, struct findings *from)
{
    bool full, ok = true;
    for (size_t i = 0; i < from->n_fields; i++) {
        struct finding_field *field = field_of(to, from->fields[i].name, &full);
        if (field)
            field->documents += from->fields[i].documents;
        else if (full)
            to->other_fields += from->fields[i].documents;
        else
            ok = false;
    }
    return ok;
}

static bool move_examples(struct findings *to, struct findings *from)
{
    if (from->n_examples == 0 || to->max_examples == 0)
        return true;
    if (!to->examples && !(to->examples = calloc(to->max_examples, sizeof *to->examples)))
        return false;
    size_t n = to->max_examples - to->n_examples;
    n = n < from->n_examples ? n : from->n_examples;
    memcpy(to->examples + to->n_examples, from->examples, n * sizeof *to->examples);
    to->n_examples += n;
    from->n_examples -= n;
    memmove(from->examples, from->examples + n, from->n_examples * sizeof *from->examples);
    return true;
}

bool findings_move(struct findings *to, struct findings *from)
{
    for (int i = 0; i < EXPLAIN_KINDS; i++)
        to->kinds[i] += from->kinds[i];
    for (int i = 0; i < EXPLAIN_REASONS; i++)
        to->reasons[i] += from->reasons[i];
    to->other_fields += from->other_fields;
    bool fields = move_fields(to, from), examples = move_examples(to, from);
    findings_free(from);
    return fields && examples;
}
