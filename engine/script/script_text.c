#include "script/script_text.h"

#include "base/err.h"
#include "base/file.h"
#include "lua/sandbox_stdlib.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 16 << 20 }; /* bytes of a script's file */

const char *script_text_field(const struct script_text *t, const char *path,
                              char out[SCRIPT_TEXT_PATH])
{
    if (t->entry == 0)
        return path;
    snprintf(out, SCRIPT_TEXT_PATH, "[%zu]%s%s", t->entry, *path && *path != '[' ? "." : "", path);
    return out;
}

/* "tenants.lua#acme" is a file, unless there is one of that whole name. */
static bool take_ref(struct script_text *t, const char *ref)
{
    t->ref = strdup(ref);
    char *hash = t->ref ? strrchr(t->ref, '#') : NULL;
    if (hash && access(ref, F_OK) != 0) {
        t->path = strndup(t->ref, (size_t)(hash - t->ref));
        t->name = hash + 1;
    } else {
        t->path = strdup(ref);
    }
    return t->ref && t->path;
}

bool script_text_read(struct script_text *t, const char *ref, struct err *e)
{
    *t = (struct script_text){0};
    buf_init(&t->text, TEXT_MAX);
    if (!take_ref(t, ref)) {
        script_text_free(t);
        return err_memory(e);
    }
    const char *path = t->path;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum file_end end = fd < 0 ? FILE_ERROR : file_read(fd, &t->text);
    int reason = errno;
    if (fd >= 0)
        close(fd);
    bool ok = end == FILE_COMPLETE;
    bool wide = ok && sandbox_stdlib_is_utf16(t->text.data, t->text.len);
    if (ok && !wide)
        return true;
    if (wide)
        err_set(e, ERR_USAGE, "cannot read script '%s': it is UTF-16, and has to be saved as UTF-8",
                path);
    else if (end != FILE_ERROR)
        err_set(e, ERR_USAGE,
                "cannot read script '%s': it is larger than %d MB, or memory is short", path,
                TEXT_MAX >> 20);
    else
        err_set(e, ERR_USAGE, "cannot read script '%s': %s", path, strerror(reason));
    script_text_free(t);
    return false;
}

void script_text_free(struct script_text *t)
{
    free(t->path);
    free(t->ref);
    buf_free(&t->text);
    *t = (struct script_text){0};
}
