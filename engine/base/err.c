#include "base/err.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* vsnprintf may have cut a text in the middle of a UTF-8 character; some terminals, and JSON, could
 * not read the rest of that character. A text that was not cut is left unchanged. */
static void trim_partial_character(char *text, size_t size)
{
    size_t len = strlen(text), i = len;
    if (len < size - 1)
        return;
    while (i > 0 && ((unsigned char)text[i - 1] & 0xC0) == 0x80)
        i--;
    if (i == 0)
        return;
    unsigned char lead = (unsigned char)text[i - 1];
    size_t want = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (len - (i - 1) < want)
        text[i - 1] = '\0';
}

static void print(char *text, size_t size, const char *format, va_list args)
{
    if (vsnprintf(text, size, format, args) < 0)
        text[0] = '\0';
    trim_partial_character(text, size);
}

bool err_set(struct err *e, enum err_kind kind, const char *format, ...)
{
    char text[sizeof e->text]; /* the arguments may point into e */
    va_list args;
    va_start(args, format);
    print(text, sizeof text, format, args);
    va_end(args);
    text[text_open_end(text, strlen(text))] = '\0'; /* most messages go on: "; trying again" */
    memcpy(e->text, text, sizeof text);
    e->kind = kind;
    e->fault = ERR_FAULT_UNKNOWN;
    e->retry_after_ms = 0;
    e->overloaded = false;
    e->hint[0] = '\0';
    return false;
}

bool err_wrap(struct err *e, const char *format, ...)
{
    char context[sizeof e->text / 2]; /* half at most, so that the reason is always kept */
    va_list args;
    va_start(args, format);
    print(context, sizeof context, format, args);
    va_end(args);
    char text[sizeof e->text];
    if (snprintf(text, sizeof text, "%s: %s", context, e->text) >= (int)sizeof text)
        trim_partial_character(text, sizeof text);
    memcpy(e->text, text, sizeof text);
    return false;
}

bool err_hint(struct err *e, const char *format, ...)
{
    char hint[sizeof e->hint];
    va_list args;
    va_start(args, format);
    print(hint, sizeof hint, format, args);
    va_end(args);
    memcpy(e->hint, hint, sizeof hint);
    return false;
}

bool err_memory(struct err *e)
{
    return err_set(e, ERR_FINAL, "out of memory");
}
