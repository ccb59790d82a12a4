/* es_answer: what an answer of the search server means: its errors, and one table (`rules`) that
 * classifies whole answers and the items of a bulk request.
 *
 * Uses     json, buf, err. No network: es.c fills in the answer.
 * Promise  every status and error is classified here, as passing or final. No message repeats
 *          credentials that a server quotes.
 */
#pragma once
#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct json_reader;

struct es_answer { /* bears being zeroed; free with es_answer_free */
    int status;
    int64_t retry_after_ms; /* from Retry-After, seconds or a date, an hour at most; 0: none */
    char type[60];          /* Content-Type; empty: none */
    char redirect[200];     /* scheme and host of where a 3xx leads to; else empty */
    struct buf body;
    const char *privilege; /* that the request takes: static; NULL: not known */
};
void es_answer_free(struct es_answer *a);

/* True for 2xx. Else sets e, by the table, with the server's own reason and, where we know one, a
 * remedy: passing for 408, 429, 502, 503, 504 and the block of a full disk; final for the rest. It
 * says as well whether the server was overloaded. */
bool es_check(const struct es_answer *a, struct err *e);
/* The same, of a request that reads or writes documents: passing for any other 5xx, too (a node
 * that leaves answers 500). */
bool es_check_documents(const struct es_answer *a, struct err *e);
/* For the body of a 200 that is not what was asked for; why: "cut off at byte 7". Passing: nothing
 * was believed, and the same request may fare better; or, where the body holds an error object,
 * what the table says of that. Always returns false. */
bool es_unfit(const char *text, size_t len, const char *why, struct err *e);

/* Whether a search server said so: the body is an error object of its kind, with a type. */
bool es_is_own_error(const struct es_answer *a);
/* The server's own words in an error answer: "type: reason (caused by type: reason)", or the body's
 * first line. One line, at most 300 bytes. */
void es_reason(const struct es_answer *a, char *out, size_t size);

/* What the body begins with, or a page's title, in quotes; "empty". */
void es_words(const struct es_answer *a, char *out, size_t size);
/* Whether the body is one JSON text, to its end. */
bool es_is_whole(const struct es_answer *a);

struct es_error {
    char type[100];    /* empty if the server gave none */
    char reason[1100]; /* behind a key of 512 bytes there must be room for what matters */
    char cause[300];   /* the innermost "caused_by", as "type: reason"; may be empty */
};
/* Reads an error object (or an old server's plain text), which is the value that begins with the
 * next token of r. False: it is neither, or damaged. */
bool es_read_error(struct json_reader *r, struct es_error *out);
/* "type: reason (caused by ...)" into out, cut at a character. */
void es_error_text(const struct es_error *error, char *out, size_t size);

/* ---- the table ---- */

enum es_part {
    ES_WHOLE = 1,
    ES_DOCUMENTS = 2,
    ES_ITEM = 4
}; /* a whole answer; one about documents; an item */

enum es_verdict {
    ES_AGAIN,      /* passing: the same again, later */
    ES_OVERLOADED, /* the same, and less at a time */
    ES_TOO_LARGE,  /* the same again, in parts */
    ES_STALE,      /* the index holds a newer version */
    ES_REJECTED,   /* this document will never be taken; others may */
    ES_BROKEN,     /* final: nothing gets through, whichever document */
};

struct es_rule {
    unsigned parts;            /* of es_part: what it is about */
    int from, to;              /* status */
    const char *type, *reason; /* of the error: equal to; part of. NULL: any */
    enum es_verdict verdict;
    const char *hint; /* the remedy, or NULL */
};

/* What becomes of what was answered with this status and error. NULL: no sound answer says so. */
const struct es_rule *es_judge(enum es_part part, int64_t status, const struct es_error *error);
const struct es_rule *es_rules(size_t *n); /* for its test: each row is one */
