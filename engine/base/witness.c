#include "base/witness.h"

#include "base/err.h"

#include <stddef.h>

static _Thread_local const struct witness *witness; /* NULL: none */
static _Thread_local bool waiting;                  /* as the witness knows */

void witness_set(const struct witness *w)
{
    witness_resume();
    witness = w;
}

const struct witness *witness_get(void)
{
    return witness;
}

void witness_line(bool is_error, const char *text)
{
    if (witness)
        witness->line(witness->arg, is_error, text);
}

void witness_wait(const struct err *why, double seconds)
{
    if (!witness)
        return;
    witness->wait(witness->arg, !waiting, why->text, seconds);
    waiting = true;
}

void witness_resume(void)
{
    if (!waiting)
        return;
    waiting = false;
    witness->resume(witness->arg);
}

void witness_answer(int status)
{
    if (witness)
        witness->answer(witness->arg, status);
}
