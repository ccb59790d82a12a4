/* A state file is refused, or read; and what was read reads the same once it has been written. The
 * first byte says whether it is one, or a file of keys. */
#include "base/err.h"
#include "base/log.h"
#include "fuzz.h"
#include "model/batch.h"
#include "store/keyfile.h"
#include "store/state.h"
#include "store/state_file.h"

#include <unistd.h>

static char path[100];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, sizeof path, "%s/etl-engine-fuzz-%d", folder, (int)getpid());
    log_setup(&(struct log_options){.level = LOG_ERROR});
    return 0;
}

static void write_file(const uint8_t *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    CLAIM(f && fwrite(data, 1, size, f) == size);
    fclose(f);
}

static void read_state(void)
{
    struct state_data d = {0}, copy = {0};
    struct err e = {0};
    if (state_file_read(path, &d, &e)) {
        CLAIM(d.phase != STATE_NEW && d.version >= 0 && d.documents >= 0);
        CLAIM(state_data_copy(&copy, &d) && copy.n_tables == d.n_tables);
    } else {
        CLAIM(e.kind != ERR_NONE && strstr(e.text, path));
    }
    state_data_free(&copy);
    state_data_free(&d);
}

static void read_keys(void)
{
    struct batch *b = batch_new();
    struct err e = {0};
    CLAIM(b);
    if (!keyfile_read(b, path, &e))
        CLAIM(e.kind != ERR_NONE && strncmp(e.text, path, strlen(path)) == 0);
    batch_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    write_file(data + 1, size - 1);
    if (data[0] == 'k')
        read_keys();
    else
        read_state();
    unlink(path);
    return 0;
}
