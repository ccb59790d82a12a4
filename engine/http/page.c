#include "http/page.h"

#include "base/buf.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* Adds " 'sha256-...'" for each element. */
static void add_hashes(const char *html, size_t len, const char *tag, struct buf *out)
{
    char start[16], end[16];
    size_t start_len = (size_t)snprintf(start, sizeof start, "<%s>", tag);
    size_t end_len = (size_t)snprintf(end, sizeof end, "</%s>", tag);
    for (;;) {
        const char *from = memmem(html, len, start, start_len);
        const char *body = from ? from + start_len : NULL;
        const char *to = body ? memmem(body, len - (size_t)(body - html), end, end_len) : NULL;
        unsigned char hash[EVP_MAX_MD_SIZE], text[2 * EVP_MAX_MD_SIZE];
        unsigned n = 0;
        if (!to || !EVP_Digest(body, (size_t)(to - body), hash, &n, EVP_sha256(), NULL))
            return;
        EVP_EncodeBlock(text, hash, (int)n);
        buf_addf(out, " 'sha256-%s'", (const char *)text);
        len -= (size_t)(to - html);
        html = to;
    }
}

void page_policy(const char *html, size_t len, struct buf *out)
{
    buf_adds(out, "default-src 'none'; script-src");
    add_hashes(html, len, "script", out);
    buf_adds(out, "; style-src");
    add_hashes(html, len, "style", out);
    buf_adds(out, "; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                  "frame-ancestors 'none'");
}
