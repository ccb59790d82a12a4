/* scratch: the folder of a test file, which goes with all that is in it. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

static char folder[] = "/tmp/etl_unit_XXXXXX";

/* 0: made, as cmocka wants it. */
static inline int scratch_make(void)
{
    return mkdtemp(folder) ? 0 : -1;
}

/* A teardown. */
static inline int remove_folder(void **state)
{
    (void)state;
    char command[80];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}
