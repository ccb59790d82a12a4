/* witness: who is told of what the threads of a pipeline log, wait for, and get as answers.
 *
 * Uses     err.
 * Threads  each thread has a witness of its own, or none. One that starts another thread hands its
 *          own on:
 *
 *              t->witness = witness_get();              // before pthread_create
 *              witness_set(t->witness);                 // first of all in the new thread
 *              ...
 *              witness_set(NULL);                       // last of all
 *
 * Promise  without a witness nothing happens. What it is told, it is told on the thread to which it
 *          happens.
 */
#pragma once
#include <stdbool.h>

struct err;

/* Its functions return at once, log nothing, and are called by several threads at a time. */
struct witness {
    /* An error or a warning was logged. */
    void (*line)(void *arg, bool is_error, const char *text);
    /* The thread waits before it tries again: each time it does. first: it was at work before. */
    void (*wait)(void *arg, bool first, const char *reason, double seconds);
    /* The thread that waited is at work again, or has given up. */
    void (*resume)(void *arg);
    /* The search server has answered; status 0: it was asked, and did not. */
    void (*answer)(void *arg, int status);
    void *arg;
};

/* Of the calling thread. Borrowed; NULL: none. A wait that was told ends. */
void witness_set(const struct witness *w);
const struct witness *witness_get(void);

void witness_line(bool is_error, const char *text);
void witness_wait(const struct err *why, double seconds);
void witness_resume(void); /* cheap: call it whenever something has succeeded */
void witness_answer(int status);
