/* process: what the kernel says of this process.
 *
 * Uses     clock.
 * Threads  any.
 * Promise  what cannot be read is 0.
 */
#pragma once
#include <stdint.h>

struct process {
    int64_t resident_bytes, virtual_bytes, open_files, most_files, threads;
    double cpu_seconds;
    int64_t started_us; /* since 1970 */
};

void process_look(struct process *out);
