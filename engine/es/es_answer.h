/* es_answer: what an answer of the search server means: its errors, and one table (`rules`) that
 * classifies whole answers and the items of a bulk request.
 *
 * Uses     json, buf, text, err. No network: es.c fills in the answer.
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

struct es_answer { /* safe to zero; free with es_answer_free */
    int status;
    int64_t retry_after_ms; /* from Retry-After, seconds or a date, at most an hour; 0: none */
    char type[60];          /* Content-Type; empty: none */
    bool elastic;           /* it has the header X-Elastic-Product */
    char redirect[200];     /* scheme and host that a 3xx redirects to; else empty */
    struct buf body;
    const char *privilege; /* that the request requires: static; NULL: not known */
    /* of a 401: where the credentials come from, or empty; whether it may pass */
    char credentials[240];
    const char *doubt; /* what looks wrong about them: static; NULL: nothing does */
    bool may_pass;
};
void es_answer_free(struct es_answer *a);

/* True for 2xx. Otherwise sets e according to the table, with the server's own reason and, if there
 * is one, a remedy: passing for 408, 429, 502, 503, 504 and the block of a full disk; final for the
 * rest. e also says whether the server was overloaded. */
bool es_check(const struct es_answer *a, struct err *e);
/* The same for a request that reads or writes documents: passing for every other 5xx, too (a node
 * that shuts down answers 500). */
bool es_check_documents(const struct es_answer *a, struct err *e);
/* Reports a 200 whose body is not the expected one; why: "cut off at byte 7". Passing: nothing of
 * it was used, and the same request may succeed later; or, if the body contains an error object,
 * what the table says of that. Always returns false. */
bool es_unfit(const char *text, size_t len, const char *why, struct err *e);

/* Whether a search server wrote this: the body is an error object of its kind, with a type. */
bool es_is_own_error(const struct es_answer *a);
/* The server's own words in an error answer: "type: reason (caused by type: reason)", or the body's
 * first line. One line, at most 300 bytes. */
void es_reason(const struct es_answer *a, char *out, size_t size);

/* The beginning of the body, or a page's title, in quotes; or "an empty body". */
void es_words(const struct es_answer *a, char *out, size_t size);
/* Whether the body is one JSON text that is complete. */
bool es_is_whole(const struct es_answer *a);

struct es_error {
    char type[100];    /* empty if the server gave none */
    char reason[1100]; /* after a key of 512 bytes there must be room for what matters */
    char cause[300];   /* the innermost "caused_by", as "type: reason"; may be empty */
};
/* Reads an error object (or an old server's plain text): the value that begins with r's next token.
 * False: it is neither, or damaged. */
bool es_read_error(struct json_reader *r, struct es_error *out);
/* Writes "type: reason (caused by ...)" into out, cut at a character. */
void es_error_text(const struct es_error *error, char *out, size_t size);

/* ---- the table ---- */

enum es_part {
    ES_WHOLE = 1,
    ES_DOCUMENTS = 2,
    ES_ITEM = 4
    /* what is judged: a whole answer; an answer about documents; one item of a bulk request */
};

enum es_verdict {
    ES_AGAIN,       /* passing: the same again, later */
    ES_OVERLOADED,  /* the same, and less at a time */
    ES_TOO_LARGE,   /* the same again, in parts */
    ES_STALE,       /* the index has a newer version */
    ES_REJECTED,    /* this document is rejected for good; others may succeed */
    ES_NO_PIPELINE, /* its ingest pipeline does not exist, or calls itself: if it did not choose
                     * that, no document succeeds */
    ES_BROKEN,      /* final: no request succeeds, whatever the document */
};

/* Of documents whose place an ingest pipeline has changed. */
#define ES_METADATA_HINT                                                                           \
    "an ingest pipeline must not change _index, _id, _routing or _version: the document could "    \
    "not be deleted or replaced any more; let document() choose them"

struct es_rule {
    unsigned parts;            /* of es_part: what the error is about */
    int from, to;              /* status */
    const char *type, *reason; /* of the error: its whole type; a part of its reason. NULL: any */
    enum es_verdict verdict;
    const char *hint; /* the remedy, or NULL */
};

/* What this status and error mean. NULL: a sound answer does not have them. */
const struct es_rule *es_judge(enum es_part part, int64_t status, const struct es_error *error);
const struct es_rule *es_rules(size_t *n); /* the table, for its test */
