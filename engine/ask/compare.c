#include "ask/compare.h"

#include "base/buf.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

enum { PATH_MAX_BYTES = 1 << 30 };

static const struct json_tree_text NOTHING = {NULL, 0};

static bool same_text(struct json_tree_text a, struct json_tree_text b)
{
    return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

/* ---- numbers ---- */

struct number { /* 0.DIGITS times ten to the exponent; the digits begin and end with one above 0 */
    bool negative;
    const char *digits; /* with a point somewhere, perhaps */
    size_t n;           /* digits; 0: the number is 0 */
    long long exponent;
};

static bool is_digit(const char *p, const char *end)
{
    return p < end && *p >= '0' && *p <= '9';
}

/* An exponent that no server would take is not read exactly. */
static long long read_exponent(const char *p, const char *end)
{
    bool negative = p < end && *p == '-';
    long long n = 0;
    p += p < end && (*p == '-' || *p == '+');
    for (; is_digit(p, end); p++)
        n = n < 1LL << 50 ? n * 10 + (*p - '0') : n;
    return negative ? -n : n;
}

static struct number read_number(struct json_tree_text t)
{
    const char *p = t.at, *end = t.at + t.len;
    struct number n = {.negative = p < end && *p == '-'};
    size_t zeros = 0; /* after the last digit above 0 */
    bool fraction = false;
    for (p += n.negative; is_digit(p, end) || (p < end && *p == '.'); p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        if (n.n == 0 && *p != '0')
            n.digits = p;
        n.exponent += fraction ? (n.digits ? 0 : -1) : n.digits != NULL;
        if (!n.digits)
            continue;
        zeros = *p == '0' ? zeros + 1 : 0;
        n.n++;
    }
    n.n -= zeros;
    n.exponent += p < end ? read_exponent(p + 1, end) : 0;
    return n;
}

bool compare_numbers(struct json_tree_text a, struct json_tree_text b)
{
    struct number x = read_number(a), y = read_number(b);
    if (x.n == 0 && y.n == 0)
        return true;
    if (x.negative != y.negative || x.n != y.n || x.exponent != y.exponent)
        return false;
    const char *p = x.digits, *q = y.digits;
    for (size_t i = 0; i < x.n; i++, p++, q++) {
        p += *p == '.';
        q += *q == '.';
        if (*p != *q)
            return false;
    }
    return true;
}

/* ---- strings and names ---- */

/* Reads a JSON string into out. False: no memory, or no string (a name before a comment). */
static bool decode(struct json_tree_text t, struct buf *out, bool *no_memory)
{
    struct json_reader r;
    buf_init(out, t.len + 1);
    json_open_loose(&r, t.at, t.len);
    bool ok = json_next(&r) == JSON_STRING && buf_add(out, r.text, r.len);
    *no_memory |= out->failed || (r.error && strcmp(r.error, "out of memory") == 0);
    json_close(&r);
    return ok;
}

static int order(struct json_tree_text a, struct json_tree_text b)
{
    int by = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);
    return by ? by : (a.len > b.len) - (a.len < b.len);
}

/* By what they say: "\u0061" is "a". */
static int order_strings(struct json_tree_text a, struct json_tree_text b, bool *no_memory)
{
    struct buf x, y;
    struct json_tree_text plain_a = {a.at + 1, a.len - 2}, plain_b = {b.at + 1, b.len - 2};
    if (!memchr(a.at, '\\', a.len) && !memchr(b.at, '\\', b.len))
        return order(plain_a, plain_b);
    bool one = decode(a, &x, no_memory), both = decode(b, &y, no_memory) && one;
    int by = both ? order((struct json_tree_text){x.data ? x.data : "", x.len},
                          (struct json_tree_text){y.data ? y.data : "", y.len})
                  : order(plain_a, plain_b);
    buf_free(&x);
    buf_free(&y);
    return by;
}

/* ---- values ---- */

struct side {
    const struct json_tree *tree;
    size_t node;
};

struct comparison {
    struct buf path, field;
    compare_visit *visit;
    void *arg;
    bool differs, no_memory;
};

static const struct json_tree_node *node_of(struct side s)
{
    return &s.tree->nodes[s.node];
}

static int order_names(struct comparison *c, struct side a, struct side b)
{
    return order_strings(node_of(a)->name, node_of(b)->name, &c->no_memory);
}

struct list {      /* members or elements */
    size_t *nodes; /* owned */
    size_t n;
};

/* False: no memory. */
static bool list_children(struct side s, struct list *l)
{
    *l = (struct list){0};
    for (size_t i = json_tree_first(s.tree, s.node); i; i = s.tree->nodes[i].next)
        l->n++;
    l->nodes = malloc((l->n + 1) * sizeof *l->nodes);
    if (!l->nodes)
        return false;
    l->n = 0;
    for (size_t i = json_tree_first(s.tree, s.node); i; i = s.tree->nodes[i].next)
        l->nodes[l->n++] = i;
    return true;
}

struct sorting {
    const struct json_tree *tree;
    bool no_memory;
};

static int order_members(const void *a, const void *b, void *arg)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    struct sorting *s = arg;
    const struct json_tree_node *nodes = s->tree->nodes;
    int by = order_strings(nodes[x].name, nodes[y].name, &s->no_memory);
    return by ? by : (x > y) - (x < y);
}

static bool list_members(struct side s, struct list *l)
{
    struct sorting sorting = {.tree = s.tree};
    if (!list_children(s, l))
        return false;
    qsort_r(l->nodes, l->n, sizeof *l->nodes, order_members, &sorting);
    return !sorting.no_memory;
}

/* Two lists side by side. */
struct lists {
    struct comparison *c;
    const struct json_tree *a, *b;
    struct list before, after;
};

static void free_lists(struct lists *l)
{
    free(l->before.nodes);
    free(l->after.nodes);
}

/* False: no memory, which c remembers. */
static bool open_lists(struct lists *l, struct comparison *c, struct side a, struct side b)
{
    bool (*list)(struct side, struct list *) =
        node_of(a)->kind == JSON_OBJECT ? list_members : list_children;
    *l = (struct lists){.c = c, .a = a.tree, .b = b.tree};
    if (list(a, &l->before) && list(b, &l->after))
        return true; /* else free_lists: what was not made is NULL */
    free_lists(l);
    c->no_memory = true;
    return false;
}

static struct side before_at(const struct lists *l, size_t i)
{
    return (struct side){l->a, l->before.nodes[i]};
}

static struct side after_at(const struct lists *l, size_t i)
{
    return (struct side){l->b, l->after.nodes[i]};
}

static bool same_value(struct comparison *c, struct side a, struct side b);

static bool same_children(struct comparison *c, struct side a, struct side b)
{
    struct lists l;
    bool object = node_of(a)->kind == JSON_OBJECT;
    if (!open_lists(&l, c, a, b))
        return false;
    bool same = l.before.n == l.after.n;
    for (size_t i = 0; same && i < l.before.n; i++) {
        struct side x = before_at(&l, i), y = after_at(&l, i);
        same = (!object || order_names(c, x, y) == 0) && same_value(c, x, y);
    }
    free_lists(&l);
    return same;
}

static bool same_value(struct comparison *c, struct side a, struct side b)
{
    const struct json_tree_node *x = node_of(a), *y = node_of(b);
    if (x->kind != y->kind)
        return false;
    if (same_text(x->value, y->value))
        return true;
    if (x->kind == JSON_NUMBER)
        return compare_numbers(x->value, y->value);
    if (x->kind == JSON_STRING)
        return order_strings(x->value, y->value, &c->no_memory) == 0;
    return (x->kind == JSON_OBJECT || x->kind == JSON_ARRAY) && same_children(c, a, b);
}

/* ---- differences ---- */

static void report(struct comparison *c, struct json_tree_text before, struct json_tree_text after)
{
    const char *path = buf_cstr(&c->path), *field = buf_cstr(&c->field);
    c->differs = true;
    c->no_memory |= !path || !field;
    if (path && field)
        c->visit(&(struct compare_difference){path, field, before, after}, c->arg);
}

struct place { /* in the path */
    size_t path, field;
};

static struct place enter_member(struct comparison *c, struct json_tree_text name)
{
    struct place from = {c->path.len, c->field.len};
    struct buf *both[] = {&c->path, &c->field};
    for (int i = 0; i < 2; i++) {
        buf_adds(both[i], both[i]->len ? "." : "");
        buf_add(both[i], name.at + 1, name.len - 2);
    }
    return from;
}

static struct place enter_element(struct comparison *c, size_t i)
{
    struct place from = {c->path.len, c->field.len};
    buf_addf(&c->path, "[%zu]", i);
    buf_adds(&c->field, "[]");
    return from;
}

static void leave(struct comparison *c, struct place from)
{
    c->no_memory |= c->path.failed || c->field.failed;
    buf_cut(&c->path, from.path);
    buf_cut(&c->field, from.field);
}

static void compare_values(struct comparison *c, struct side a, struct side b);

/* One member, which is in both documents or in one of them (node 0: not in that one). */
static void compare_member(struct comparison *c, struct side a, struct side b)
{
    struct place from = enter_member(c, node_of(b.node ? b : a)->name);
    if (a.node && b.node)
        compare_values(c, a, b);
    else
        report(c, a.node ? node_of(a)->value : NOTHING, b.node ? node_of(b)->value : NOTHING);
    leave(c, from);
}

static void compare_objects(struct lists *l)
{
    for (size_t i = 0, j = 0; i < l->before.n || j < l->after.n;) {
        struct side a = {l->a, i < l->before.n ? l->before.nodes[i] : 0};
        struct side b = {l->b, j < l->after.n ? l->after.nodes[j] : 0};
        int by = !a.node ? 1 : !b.node ? -1 : order_names(l->c, a, b);
        compare_member(l->c, (struct side){l->a, by <= 0 ? a.node : 0},
                       (struct side){l->b, by >= 0 ? b.node : 0});
        i += by <= 0;
        j += by >= 0;
    }
}

/* The index that a path shows is that of the script's document, where the element is in both. */
static void compare_elements(struct lists *l, size_t from, size_t before_end, size_t after_end)
{
    for (size_t i = from; i < before_end || i < after_end; i++) {
        struct place at = enter_element(l->c, i);
        if (i < before_end && i < after_end)
            compare_values(l->c, before_at(l, i), after_at(l, i));
        else if (i < before_end)
            report(l->c, node_of(before_at(l, i))->value, NOTHING);
        else
            report(l->c, NOTHING, node_of(after_at(l, i))->value);
        leave(l->c, at);
    }
}

static void compare_arrays(struct lists *l)
{
    size_t from = 0, n = l->before.n, m = l->after.n;
    while (from < n && from < m && same_value(l->c, before_at(l, from), after_at(l, from)))
        from++;
    while (n > from && m > from && same_value(l->c, before_at(l, n - 1), after_at(l, m - 1))) {
        n--;
        m--;
    }
    compare_elements(l, from, n, m);
}

static void compare_values(struct comparison *c, struct side a, struct side b)
{
    const struct json_tree_node *x = node_of(a), *y = node_of(b);
    struct lists l;
    bool object = x->kind == JSON_OBJECT;
    if (x->kind != y->kind || (!object && x->kind != JSON_ARRAY)) {
        if (!same_value(c, a, b))
            report(c, x->value, y->value);
        return;
    }
    if (same_text(x->value, y->value) || !open_lists(&l, c, a, b))
        return;
    if (object)
        compare_objects(&l);
    else
        compare_arrays(&l);
    free_lists(&l);
}

/* ---- documents ---- */

static bool read_tree(struct json_tree *t, struct json_tree_text text, bool *damaged, struct err *e)
{
    bool ok = json_tree_read(t, text.at, text.len, e);
    *damaged |= !ok && e->kind == ERR_PASSING;
    return ok || e->kind == ERR_PASSING;
}

static bool compare(struct comparison *c, const struct compare_documents *d, struct err *e)
{
    struct json_tree a = {0}, b = {0};
    bool damaged = false;
    bool ok = read_tree(&a, d->before, &damaged, e) && read_tree(&b, d->after, &damaged, e);
    if (ok && damaged)
        report(c, d->before, d->after);
    else if (ok)
        compare_values(c, (struct side){&a, 1}, (struct side){&b, 1});
    json_tree_free(&a);
    json_tree_free(&b);
    return ok && (!c->no_memory || err_memory(e));
}

bool compare_documents(const struct compare_documents *d, bool *same, struct err *e)
{
    struct comparison c = {.visit = d->visit, .arg = d->arg};
    *same = true;
    if (same_text(d->before, d->after))
        return true;
    buf_init(&c.path, PATH_MAX_BYTES);
    buf_init(&c.field, PATH_MAX_BYTES);
    bool ok = compare(&c, d, e);
    buf_free(&c.path);
    buf_free(&c.field);
    *same = !c.differs;
    return ok;
}
