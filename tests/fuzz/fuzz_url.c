/* A URL is refused without being quoted, or shown without its password; what is shown is itself
 * such a URL.
 */
#include "base/err.h"
#include "es/es_url.h"
#include "fuzz.h"

static void look(const struct es_url *u)
{
    struct es_url *again;
    size_t n;
    struct err e = {0};
    CLAIM(strncmp(u->text, "http://", 7) == 0 || strncmp(u->text, "https://", 8) == 0);
    CLAIM(!u->userpwd || strchr(u->userpwd, ':'));
    CLAIM(es_urls_parse(u->text, &again, &n, &e));
    CLAIM(n == 1 && strcmp(again->text, u->text) == 0 && !again->userpwd &&
          again->loopback == u->loopback);
    es_urls_free(again, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct es_url *list = NULL;
    size_t n = 0;
    struct err e = {0};
    char *text = fuzz_text(data, size);
    if (es_urls_parse(text, &list, &n, &e)) {
        CLAIM(n > 0);
        for (size_t i = 0; i < n; i++)
            look(&list[i]);
        es_urls_free(list, n);
    } else {
        CLAIM(e.kind == ERR_USAGE && *e.text);
        CLAIM(strlen(text) < 60 || !strstr(e.text, text));
    }
    free(text);
    return 0;
}
