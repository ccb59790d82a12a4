/* run_alter: a table or column that is not what it was when the query was described: ALTER TABLE
 * during a run.
 *
 * Uses     run, run_reload, run_script, queue.
 * Threads  one, the main thread.
 *
 * The script is read once more and the query described again, as for SIGHUP: the change of the
 * table may have come with a change of the script. The run then continues from what was
 * acknowledged. If the script does not fit the table any more, the run ends and says what is wrong,
 * and where.
 */
#pragma once
#include <stdbool.h>

struct err;
struct run;

/* After a failure: true if a table has changed and the run may continue (with run_load, or what it
 * was doing) with the script as it is now. False: e says why the run ends. */
bool run_recover_altered(struct run *r, struct err *e);
