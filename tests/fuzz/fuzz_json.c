/* Any text is read to its end or to an error; what is read whole and written again reads the
 * same. */
#include "base/json.h"
#include "fuzz.h"

/* Writes what is read, token by token. False: the text is damaged. */
static bool copy(const char *text, size_t len, struct buf *out)
{
    struct json_reader r;
    size_t before = 0;
    bool first = true;
    json_open(&r, text, len);
    while (json_next(&r) != JSON_ERROR) {
        CLAIM(r.at >= before && r.at <= len && json_offset(&r) <= len);
        before = r.at;
        bool closes = r.token == JSON_OBJECT_END || r.token == JSON_ARRAY_END;
        if (!first && !closes)
            buf_addc(out, ',');
        first = r.token == JSON_OBJECT || r.token == JSON_ARRAY || r.token == JSON_KEY;
        static const char *const words[] = {
            [JSON_NULL] = "null",   [JSON_TRUE] = "true",     [JSON_FALSE] = "false",
            [JSON_OBJECT] = "{",    [JSON_OBJECT_END] = "}",  [JSON_ARRAY] = "[",
            [JSON_ARRAY_END] = "]", [JSON_ARRAY_END + 1] = ""};
        if (r.token == JSON_STRING || r.token == JSON_KEY)
            CLAIM(json_add_string(out, r.text, r.len)); /* valid: the reader has checked it */
        else if (r.token == JSON_NUMBER)
            buf_add(out, r.text, r.len);
        else
            buf_adds(out, words[r.token]);
        if (r.token == JSON_KEY)
            buf_addc(out, ':');
        if (r.token == JSON_NUMBER)
            CLAIM(json_is_number(r.text, r.len));
        if (r.depth == 0 && r.token != JSON_KEY)
            break;
    }
    bool ok = r.token != JSON_ERROR && json_end(&r);
    CLAIM(ok || r.error);
    json_close(&r);
    return ok;
}

static void skip_it(const char *text, size_t len, bool sound)
{
    struct json_reader r;
    json_open(&r, text, len);
    CLAIM((json_skip(&r) && json_end(&r)) == sound);
    json_close(&r);
    json_open_loose(&r, text, len);
    bool passed = json_skip(&r) && json_end(&r);
    CLAIM(passed || (!sound && r.error));
    json_close(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf once, twice;
    buf_init(&once, 1 << 24);
    buf_init(&twice, 1 << 24);
    bool sound = copy((const char *)data, size, &once);
    skip_it((const char *)data, size, sound);
    if (sound && !once.failed) {
        CLAIM(copy(once.data, once.len, &twice));
        CLAIM(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
    }
    buf_free(&once);
    buf_free(&twice);
    return 0;
}
