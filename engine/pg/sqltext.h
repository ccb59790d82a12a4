/* sqltext: where an SQL statement ends in its text, so that it can be put in parentheses.
 *
 * Uses     nothing. It is a scanner that knows quotes, dollar quotes and comments, not the grammar.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct sqltext {
    /* up to the last character that is not part of space, a comment or the final semicolon; 0:
     * there is none */
    size_t len;
    const char *mistake; /* static; NULL: none */
    int line;            /* of the mistake, from 1 */
};

/* Measures the statement in text. False: text is not one statement; mistake and line say why. */
bool sqltext_read(struct sqltext *s, const char *text, size_t len);

struct sqltext_parameter { /* a zeroed one is before the first */
    size_t from, to;       /* where "$12" stands */
    int n;                 /* 12 */
};
/* The next parameter of a statement that sqltext_read has accepted. False: there is none. */
bool sqltext_next_parameter(struct sqltext_parameter *p, const char *text, size_t len);

/* Whether text is meant as a query: after white space, comments and opening parentheses it begins
 * with the word SELECT or WITH. A comment that is not closed counts as a query, for which
 * sqltext_read then says what is wrong. */
bool sqltext_is_query(const char *text, size_t len);
