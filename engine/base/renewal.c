#include "base/renewal.h"

#include "base/alike.h"
#include "base/err.h"
#include "base/log.h"
#include "base/secret_text.h"

void renewal_done(const char *server, const char *field, const char *path)
{
    if (*path)
        alike_info(NULL, LOG_FIELDS(log_text("field", field), log_text("path", path)),
                   "%s refuses the credentials, and file '%s' has new ones: using those (%s)",
                   server, path, field);
    else
        alike_info(NULL, LOG_FIELDS(log_text("field", field)),
                   "%s refuses the credentials, and their files have new ones: using those (%s)",
                   server, field);
}

void renewal_failed(const struct err *why)
{
    log_line_with(alike_level(why->text), LOG_FIELDS(LOG_ERR(why)),
                  "could not renew the credentials: %s", why->text);
}

bool renewal_elsewhere(const char *field, const struct secret_text *now, struct err *e)
{
    char path[200];
    if (!secret_text_file(now, path, sizeof path))
        return err_set(e, ERR_USAGE, "%s has another address by now: restart to use it", field);
    return err_set(
        e, ERR_USAGE,
        "file '%s' has another address for %s by now, not only another password: restart "
        "to use it",
        path, field);
}
