/* fleet_status: what the service manager shows of a process with several pipelines: how many of
 * them follow, and what hinders the first of those that do not get on.
 *
 * Uses     vitals, notify.
 * Threads  any: it is told anew by whichever thread changes a pipeline's phase.
 *
 *     3 pipelines: 2 following, 1 waiting; genres: could not reach http://...: Connection refused
 */
#pragma once

struct vitals_list;

/* From now on what one pipeline alone would tell is not told. Before any thread starts; once. */
void fleet_status_begin(struct vitals_list *l);
