#include "ask/why.h"

#include "ask/story.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* bytes of what is shown; a screen is not large */
enum { SHOWN = 600, SHOWN_VALUE = 160 };

/* ---- text ---- */

static void label(const char *name)
{
    printf("%-12s", name);
}

/* The first part of a text of any length, on one line. */
static void print_part(const char *text, size_t len, size_t most)
{
    char part[SHOWN + 4];
    size_t n = len < most ? len : most;
    while (n < len && n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--;
    memcpy(part, text, n);
    part[n] = '\0';
    for (size_t i = 0; i < n; i++)
        part[i] = part[i] == '\n' || part[i] == '\t' ? ' ' : part[i];
    findings_print_text(part, stdout);
    printf("%s\n", n < len ? "\xE2\x80\xA6" : "");
}

static void print_cut(const char *text, size_t len)
{
    print_part(text, len, SHOWN);
}

static void print_row(const struct story *s)
{
    const char *table = s->ask.run.user.pipeline.source.table;
    label("row");
    if (s->is_malformed)
        printf("none: this cannot be a key of '%s'\n", table);
    else if (s->rows == 0 && *s->why_not)
        printf("cannot be read\n");
    else if (s->rows == 0)
        printf("none: the query has no row with this key%s\n",
               s->tables[0].trace.keys.n ? ", though the table has one" : "");
    else
        printf("of '%s', as the query has it%s\n", table,
               s->rows > 1 ? "; it has several, and this is the first" : "");
    for (size_t i = 0; i < s->n_columns; i++) {
        printf("  %-24s  ", s->columns[i].name);
        const char *value = s->columns[i].value ? s->columns[i].value : "NULL";
        print_part(value, strlen(value), SHOWN_VALUE);
    }
}

static void print_document(const struct story *s)
{
    label("document");
    if (s->is_made)
        print_cut(s->made.data, s->made.len);
    else if (*s->why_not)
        print_cut(s->why_not, strlen(s->why_not));
    else
        printf("none\n");
}

static void print_index(const struct story *s)
{
    char at[CLOCK_TEXT];
    label("index");
    if (!s->found) {
        printf("'%s' has no document with this _id\n", s->ask.run.index.info.name);
        return;
    }
    printf("'%s', version %lld", s->held_index ? s->held_index : s->ask.run.index.info.name,
           (long long)s->held_version);
    if (explain_is_ours(s->held_version, s->clock_us ? s->clock_us : INT64_MAX))
        printf(": its row was read at %s", clock_text(s->held_version, at));
    printf("%s\n", s->copies > 1 ? "; there are other copies of it" : "");
    if (s->kind == EXPLAIN_SAME) /* it is shown above */
        return;
    label("");
    if (s->held.len)
        print_cut(s->held.data, s->held.len);
    else
        printf("the index does not store the document\n");
}

static void print_verdict(struct story *s)
{
    label("so");
    if (s->kind == EXPLAIN_SAME) {
        printf("%s\n", s->found ? "the index has what the script makes"
                                : "there is nothing, and there should be nothing");
        return;
    }
    printf("%s: %s\n", explain_kind(s->kind), explain_text(&s->explain, s->reason));
    findings_print_lines(&s->findings, findings_want_color(), stdout);
}

/* The value of a member of the dead letter, or "". */
static void print_member(const struct json_tree *t, const char *name, const char *before)
{
    struct json_tree_text v = json_tree_plain(t, json_tree_find(t, 1, name));
    printf("%s", before);
    for (size_t i = 0; i < v.len; i++)
        putchar(v.at[i]);
}

static void print_letter(const struct story *s)
{
    struct json_tree t;
    struct err e;
    label("dead letter");
    if (!s->letter || !json_tree_read(&t, s->letter, strlen(s->letter), &e)) {
        printf("none\n");
        return;
    }
    print_member(&t, "time", "");
    print_member(&t, "reason", ": ");
    printf("\n");
    json_tree_free(&t);
}

/* ---- how a change is noticed ---- */

/* Of table i, as the script writes it; NULL: none. */
static const char *cursor_of(const struct pipeline *p, size_t i)
{
    return i == 0 ? p->source.cursor : p->source.related[i - 1].cursor;
}

/* "polled by modified, and read up to 2025-08-05 14:44:49+00" */
static void print_poll(const struct story *s, size_t i)
{
    const struct source_table *t = &s->ask.run.user.source.tables[i];
    const struct state_table *saved = state_find(&s->ask.run.state.data, t->state_name);
    if (!t->cursor)
        printf("without a cursor: only a sweep sees its changes");
    else if (!saved)
        printf("polled by %s, and not read yet", cursor_of(&s->ask.run.user.pipeline, i));
    else
        printf("polled by %s, and read up to %s", cursor_of(&s->ask.run.user.pipeline, i),
               saved->checkpoint.at.cursor ? saved->checkpoint.at.cursor : "the beginning");
}

static void print_rows(const struct story_table *t)
{
    const struct keylist *keys = &t->trace.keys;
    size_t shown = keys->n < STORY_ROWS ? keys->n : STORY_ROWS - 1;
    if (keys->n == 0)
        printf("no row");
    for (size_t i = 0; i < shown; i++) {
        printf("%s", i ? ", " : "");
        findings_print_text(keys->keys[i], stdout);
    }
    printf("%s\n", shown < keys->n ? ", and more" : "");
}

static void print_related(const struct story *s)
{
    const struct source *source = &s->ask.run.user.source;
    for (size_t i = 1; i < source->n_tables; i++) {
        label(i == 1 ? "led to by" : "");
        printf("%s: ", source->tables[i].label);
        if (*s->tables[i].why)
            print_cut(s->tables[i].why, strlen(s->tables[i].why));
        else
            print_rows(&s->tables[i]);
        if (s->ask.run.user.pipeline.source.wal)
            continue;
        label("");
        print_poll(s, i);
        printf("\n");
    }
}

static void print_capture(const struct story *s)
{
    const struct state_data *d = &s->ask.run.state.data;
    static const char *const statuses[] = {"does not exist", "is ready", "is lost",
                                           "is another program's"};
    printf("slot '%s' %s", s->ask.run.user.pipeline.source.slot, statuses[s->slot.status]);
    if (s->slot.status == SOURCE_SLOT_READY)
        printf(", confirmed up to %X/%08X", (unsigned)(s->slot.confirmed >> 32),
               (unsigned)s->slot.confirmed);
    if (s->slot.pid)
        printf(", read by process %d", s->slot.pid);
    printf("%s\n", d->swept_us == 0 ? "; a sweep is due" : "");
}

static void print_noticed(const struct story *s)
{
    const struct keylist *cursors = &s->tables[0].trace.cursors;
    label("noticed by");
    if (s->ask.run.user.pipeline.source.wal) {
        print_capture(s);
        return;
    }
    printf("%s: ", s->ask.run.user.source.tables[0].label);
    print_poll(s, 0);
    if (s->ask.run.user.source.tables[0].cursor && cursors->n > 0)
        printf("; here it is %s", *cursors->keys[0] ? cursors->keys[0] : "NULL");
    printf("\n");
}

static void print_held_back(const struct story *s)
{
    char since[CLOCK_TEXT];
    const struct watermark_report *w = &s->report.watermark;
    label("open now");
    if (*s->no_report)
        print_cut(s->no_report, strlen(s->no_report));
    else if (w->oldest_us == 0)
        printf("no other transaction%s\n", s->report.hidden ? " that can be seen" : "");
    else
        printf("a transaction of %s, since %s: what it changes is not there before it ends\n",
               s->report.who, clock_duration(w->clock_us - w->oldest_us, since));
}

static void print_script(const struct story *s)
{
    const char *made_by = s->ask.run.index.saved_meta.fingerprint;
    label("script");
    if (!*made_by)
        printf("the index does not say which script has made it\n");
    else if (s->ask.is_older_script)
        printf("%s; the index was made by another version of it (%.8s, this is %.8s)\n",
               s->ask.run.user.pipeline.script, made_by, s->ask.run.user.fingerprint);
    else
        printf("%s; the index was made by this version of it\n", s->ask.run.user.pipeline.script);
    label("process");
    printf("%s\n", s->explain.followed
                       ? "one follows the changes"
                       : "none follows: the next run brings what has changed since the last one");
}

static void print_story(struct story *s)
{
    label("key");
    print_cut(s->key, strlen(s->key));
    print_row(s);
    print_document(s);
    print_index(s);
    print_verdict(s);
    print_letter(s);
    print_noticed(s);
    print_related(s);
    print_held_back(s);
    print_script(s);
}

/* ---- JSON ---- */

static void json_text(const char *name, const char *value)
{
    printf(",\"%s\":", name);
    if (value)
        findings_print_string(value, stdout);
    else
        printf("null");
}

static void json_raw(const char *name, const struct buf *b, bool is_there)
{
    printf(",\"%s\":", name);
    if (is_there)
        fwrite(b->data, 1, b->len, stdout);
    else
        printf("null");
}

static void json_row(const struct story *s)
{
    printf(",\"row\":%s", s->rows ? "{" : "null");
    for (size_t i = 0; i < s->n_columns; i++) {
        printf("%s", i ? "," : "");
        findings_print_string(s->columns[i].name, stdout);
        printf(":");
        if (s->columns[i].value)
            findings_print_string(s->columns[i].value, stdout);
        else
            printf("null");
    }
    printf("%s", s->rows ? "}" : "");
}

static void json_tables(const struct story *s)
{
    const struct source *source = &s->ask.run.user.source;
    printf(",\"tables\":[");
    for (size_t i = 0; i < source->n_tables; i++) {
        const struct story_table *t = &s->tables[i];
        const struct state_table *saved =
            state_find(&s->ask.run.state.data, source->tables[i].state_name);
        printf("%s{\"table\":", i ? "," : "");
        findings_print_string(source->tables[i].label, stdout);
        json_text("state", saved ? saved->checkpoint.at.cursor : NULL);
        if (*t->why)
            json_text("error", t->why);
        printf(",\"rows\":[");
        for (size_t row = 0; row < t->trace.keys.n; row++) {
            printf("%s{\"key\":", row ? "," : "");
            findings_print_string(t->trace.keys.keys[row], stdout);
            json_text("cursor", t->trace.cursors.keys[row]);
            printf("}");
        }
        printf("]}");
    }
    printf("]");
}

static void print_json(struct story *s)
{
    printf("{\"key\":");
    findings_print_string(s->key, stdout);
    json_text("kind", explain_kind(s->kind));
    json_text("reason", s->reason == EXPLAIN_NOTHING ? NULL : explain_name(s->reason));
    json_row(s);
    json_raw("document", &s->made, s->is_made);
    json_text("error", *s->why_not ? s->why_not : NULL);
    json_raw("held", &s->held, s->held.len > 0);
    printf(",\"found\":%s,\"version\":%lld", s->found ? "true" : "false",
           (long long)s->held_version);
    printf(",\"dead_letter\":%s", s->letter ? s->letter : "null");
    json_tables(s);
    json_text("open_transaction", s->report.watermark.oldest_us ? s->report.who : NULL);
    printf(",\"same_script\":%s,\"followed\":%s}\n", s->ask.is_older_script ? "false" : "true",
           s->explain.followed ? "true" : "false");
}

bool why(const struct why_options *o, const char *script, bool *same, struct err *e)
{
    struct story s;
    bool ok = story_read(&s, script, o->key, o->give_up_after, e);
    if (ok) {
        *same = s.kind == EXPLAIN_SAME;
        (o->json ? print_json : print_story)(&s);
    }
    story_free(&s);
    return ok;
}
