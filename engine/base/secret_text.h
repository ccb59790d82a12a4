/* secret_text: a text that a script has made, and the secrets from files that are in it: so that it
 * can be made again when such a file has changed.
 *
 * Uses     secret, text, err, log.
 * Threads  a struct secret_text is one thread's at a time.
 * Promise  no message holds a value. A secret is found by its value: one that occurs in the text
 *          once, as it is written in the file, is replaced; the others stay as they are, until the
 *          script is executed again.
 *
 *     secret_text_set(&url, pipeline->source.url);       // soon after the script was executed
 *     if (secret_text_renew(&url, &changed, e) && changed) ...    // url.text is another one
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;

struct secret_text {           /* safe to zero */
    char *text;                /* owned; NULL: none */
    struct secret_part *parts; /* owned: a list of the secrets in it */
};

/* Copies text (NULL: none), and finds the secrets in it. False: no memory; t is empty then. */
bool secret_text_set(struct secret_text *t, const char *text);
void secret_text_free(struct secret_text *t);
bool secret_text_copy(struct secret_text *t, const struct secret_text *from);

/* Reads the files of its secrets again. *changed: one has another value, and t->text is made of
 * that. False: a file cannot be read, and t is as it was. */
bool secret_text_renew(struct secret_text *t, bool *changed, struct err *e);

/* The path of the file that it, or a part of it, is read from. False: of none. */
bool secret_text_file(const struct secret_text *t, char *out, size_t size);
