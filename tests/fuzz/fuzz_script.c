/* The table that a script returns: whatever its fields are, it becomes a pipeline, or a mistake
 * with a place.
 */
#include "base/err.h"
#include "base/log.h"
#include "fuzz.h"
#include "script/pipeline.h"
#include "script/script.h"

/* These may take until the limit of instructions, which is not what is looked for here. */
static bool may_loop(const char *text)
{
    static const char *const words[] = {"for", "while", "repeat", "function", "goto",
                                        "rep", "gsub",  "find",   "match"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(text, words[i]))
            return true;
    return false;
}

static void read_it(struct script_text *t)
{
    struct pipeline p;
    struct err e = {0};
    struct script *s = script_open(t, &e);
    if (s && pipeline_read(&p, s, &e)) {
        CLAIM(*p.name && *p.source.table && *p.source.query && *p.sink.index && *p.state);
        CLAIM(p.source.key.n > 0 && p.poll_interval > 0 && p.max_rejected >= 0);
        pipeline_free(&p);
    } else {
        CLAIM(e.kind != ERR_NONE && strncmp(e.text, "x.lua", 5) == 0);
    }
    script_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script_text t = {.path = strdup("x.lua")};
    char *text = fuzz_text(data, size);
    log_setup(&(struct log_options){.level = LOG_ERROR});
    buf_init(&t.text, 1 << 20);
    buf_addf(&t.text, "local f = print return {\n%s\n}", text);
    if (t.path && !t.text.failed && !may_loop(text))
        read_it(&t);
    script_text_free(&t);
    free(text);
    return 0;
}
