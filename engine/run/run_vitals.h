/* run_vitals: what a run notes of itself in its vitals, beside what its parts note by themselves.
 *
 * Uses     run, vitals, feed, queue, tally, deadletter, json.
 * Threads  one, the main thread.
 */
#pragma once
#include <stdbool.h>

struct err;
struct run;
struct source_report;

void run_note_script(const struct run *r); /* the script and both servers are known */
/* The flow is open, and no worker runs yet. */
void run_note_flow(const struct run *r);
/* The flow is about to be closed. */
void run_note_no_flow(const struct run *r);
void run_note_letters(struct run *r); /* if they have changed */
/* What the polls have seen: the last report is that of the root, or of a table in its stead. */
void run_note_report(const struct run *r, const struct source_report *report);
/* For the coordinator, in each round; run: a struct run. Always true. */
bool run_note_round(void *run, struct err *e);
