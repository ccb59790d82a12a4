/* status: /status, what a process shows of itself as JSON: for the page, and for programs.
 *
 * Uses     show, json, clock.
 * Threads  any.
 * Promise  valid JSON, whatever names and messages hold. Numbers that are not known are null.
 */
#pragma once

struct buf;
struct show;

void status_write(const struct show *w, struct buf *out);
