/* script_text: for tests: scripts written within the test, and rows that no server sent.
 *
 *     struct script_text t = text_of("return {}");
 *     struct script *s = script_open(&t, &e);
 *     script_close(s);
 *     script_text_free(&t);
 */
#pragma once
#include "base/err.h"
#include "script/script.h"

#include <stdlib.h>
#include <string.h>

static inline struct script_text text_of(const char *path, const char *text)
{
    struct script_text t = {.path = strdup(path)};
    buf_init(&t.text, 1 << 20);
    if (!t.path || !buf_adds(&t.text, text))
        abort();
    return t;
}

/* Opens the script x.lua with that text and closes it again; the message, or "" if it could be
 * opened. */
static inline struct err open_once(const char *text)
{
    struct err e = {.kind = ERR_NONE};
    struct script_text t = text_of("x.lua", text);
    script_close(script_open(&t, &e));
    script_text_free(&t);
    return e;
}
