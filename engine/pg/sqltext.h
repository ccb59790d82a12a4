/* sqltext: where a statement of SQL ends in its text, so that it can be put into brackets.
 *
 * Uses     nothing (a scanner that knows quotes, dollar quotes and comments; not the grammar).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct sqltext {
    /* up to the last character that is neither space, nor a comment, nor the final semicolon; 0:
     * none is */
    size_t len;
    const char *mistake; /* static text */
    int line;            /* of the mistake, from 1 */
};

/* False: text is not one statement; mistake and line say why. */
bool sqltext_read(struct sqltext *s, const char *text, size_t len);

/* Whether text is meant as a query: behind white space, comments and opening brackets it begins
 * with the word SELECT or WITH. A comment that is not closed counts as a query: sqltext_read then
 * says what is wrong. */
bool sqltext_is_query(const char *text, size_t len);
