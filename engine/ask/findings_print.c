/* findings_print: findings as text and as JSON. */
#include "ask/findings.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "flow/progress.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1 << 20 };

/* ---- text that is safe on a terminal ---- */

/* Whether a character could command a terminal: of a document, anybody may have written it. */
static bool is_control(const char *p, size_t len)
{
    unsigned char c = (unsigned char)p[0];
    return len == 1 ? c < 0x20 || c == 0x7F : c == 0xC2 && (unsigned char)p[1] < 0xA0;
}

void findings_print_text(const char *text, FILE *out)
{
    for (size_t left = strlen(text), n; left > 0; text += n, left -= n) {
        n = json_character(text, left);
        bool bad = n == 0 || is_control(text, n);
        n = n ? n : 1;
        if (bad)
            fputc('?', out);
        else
            fwrite(text, 1, n, out);
    }
}

/* ---- counts ---- */

static int order_fields(const void *a, const void *b)
{
    const struct finding_field *x = a, *y = b;
    int by = (x->documents < y->documents) - (x->documents > y->documents);
    return by ? by : strcmp(x->name, y->name);
}

static void sort_fields(struct findings *f)
{
    if (f->n_fields > 0)
        qsort(f->fields, f->n_fields, sizeof *f->fields, order_fields);
}

void findings_print_fields(struct findings *f, FILE *out)
{
    char n[PROGRESS_TEXT];
    sort_fields(f);
    for (size_t i = 0; i < f->n_fields; i++) {
        fprintf(out, "%12s  ", progress_number(f->fields[i].documents, n));
        findings_print_text(f->fields[i].name, out);
        fputc('\n', out);
    }
    if (f->other_fields > 0)
        fprintf(out, "%12s  (in other fields)\n", progress_number(f->other_fields, n));
}

void findings_print_reasons(const struct findings *f, const struct explain *x, FILE *out)
{
    char n[PROGRESS_TEXT];
    for (int i = EXPLAIN_NOTHING + 1; i < EXPLAIN_REASONS; i++)
        if (f->reasons[i] > 0)
            fprintf(out, "%12s  %s\n", progress_number(f->reasons[i], n),
                    explain_text(x, (enum explain_reason)i));
}

/* ---- examples ---- */

bool findings_want_color(void)
{
    const char *no_color = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && !(no_color && *no_color);
}

#define RED "\x1b[31m"
#define GREEN "\x1b[32m"
#define BOLD "\x1b[1m"
#define PLAIN "\x1b[0m"

static void print_side(char sign, const struct finding_line *l, const char *value, bool color,
                       FILE *out)
{
    if (!value)
        return;
    fprintf(out, "  %s%c ", !color ? "" : sign == '-' ? RED : GREEN, sign);
    findings_print_text(l->path, out);
    fputs(*value ? ": " : "", out);
    findings_print_text(value, out);
    fputs(color ? PLAIN "\n" : "\n", out);
}

static void print_lines(const struct finding *f, bool color, FILE *out)
{
    for (size_t i = 0; i < f->n_lines; i++) {
        print_side('-', &f->lines[i], f->lines[i].before, color, out);
        print_side('+', &f->lines[i], f->lines[i].after, color, out);
    }
    if (f->more > 0)
        fprintf(out, "  and %zu more\n", f->more);
}

void findings_print_lines(const struct findings *f, bool color, FILE *out)
{
    if (f->n_examples > 0)
        print_lines(&f->examples[0], color, out);
}

static void print_example(const struct finding *f, const struct explain *x, bool color, FILE *out)
{
    char when[CLOCK_TEXT];
    fprintf(out, "%s", color ? BOLD : "");
    findings_print_text(*f->key ? f->key : "(a row without a key)", out);
    fprintf(out, "%s  %s", color ? PLAIN : "", explain_kind(f->kind));
    if (explain_is_ours(f->held_version, INT64_MAX))
        fprintf(out, "; indexed %s", clock_text(f->held_version, when));
    if (x && f->reason != EXPLAIN_NOTHING)
        fprintf(out, "; %s", explain_text(x, f->reason));
    fputc('\n', out);
    if (f->text) {
        fputs("  ", out);
        findings_print_text(f->text, out);
        fputc('\n', out);
    }
    print_lines(f, color, out);
}

void findings_print_examples(const struct findings *f, const struct explain *x, bool color,
                             FILE *out)
{
    for (size_t i = 0; i < f->n_examples; i++) {
        fputc('\n', out);
        print_example(&f->examples[i], x, color, out);
    }
}

/* ---- JSON ---- */

void findings_print_string(const char *text, FILE *out)
{
    struct buf b, clean;
    buf_init(&b, LINE_MAX_BYTES);
    buf_init(&clean, LINE_MAX_BYTES);
    for (size_t left = strlen(text), n; left > 0; text += n, left -= n) {
        n = json_character(text, left);
        buf_add(&clean, n ? text : "?", n ? n : 1);
        n = n ? n : 1;
    }
    json_add_string(&b, clean.data ? clean.data : "", clean.len);
    fwrite(b.data ? b.data : "\"\"", 1, b.data ? b.len : 2, out);
    buf_free(&b);
    buf_free(&clean);
}

static void print_member(const char *name, const char *value, FILE *out)
{
    if (!value)
        return;
    fprintf(out, ",\"%s\":", name);
    findings_print_string(value, out);
}

static void print_json_example(const struct finding *f, FILE *out)
{
    fprintf(out, "{\"kind\":\"%s\"", explain_kind(f->kind));
    print_member("key", f->key, out);
    if (f->reason != EXPLAIN_NOTHING)
        print_member("reason", explain_name(f->reason), out);
    print_member("error", f->text, out);
    if (f->held_version)
        fprintf(out, ",\"version\":%lld", (long long)f->held_version);
    fputs(",\"differences\":[", out);
    for (size_t i = 0; i < f->n_lines; i++) {
        fputs(i ? ",{\"path\":" : "{\"path\":", out);
        findings_print_string(f->lines[i].path, out);
        print_member("index", f->lines[i].before, out);
        print_member("script", f->lines[i].after, out);
        fputc('}', out);
    }
    fprintf(out, "],\"more\":%zu}", f->more);
}

void findings_print_json(struct findings *f, FILE *out)
{
    fprintf(out, "\"compared\":%llu", (unsigned long long)findings_checked(f));
    for (int k = 0; k < EXPLAIN_KINDS; k++)
        fprintf(out, ",\"%s\":%llu", explain_kind((enum explain_kind)k),
                (unsigned long long)f->kinds[k]);
    fputs(",\"reasons\":{", out);
    for (int i = EXPLAIN_NOTHING + 1, n = 0; i < EXPLAIN_REASONS; i++)
        if (f->reasons[i] > 0)
            fprintf(out, "%s\"%s\":%llu", n++ ? "," : "", explain_name((enum explain_reason)i),
                    (unsigned long long)f->reasons[i]);
    fputs("},\"fields\":[", out);
    sort_fields(f);
    for (size_t i = 0; i < f->n_fields; i++) {
        fputs(i ? ",{\"field\":" : "{\"field\":", out);
        findings_print_string(f->fields[i].name, out);
        fprintf(out, ",\"documents\":%llu}", (unsigned long long)f->fields[i].documents);
    }
    fputs("],\"examples\":[", out);
    for (size_t i = 0; i < f->n_examples; i++) {
        fputs(i ? "," : "", out);
        print_json_example(&f->examples[i], out);
    }
    fputs("]", out);
}
