#include "script/index_name.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

bool index_name_is_utf8(const char *text)
{
    size_t n = 1;
    for (; *text && n > 0; text += n)
        n = json_character(text, strlen(text));
    return n > 0;
}

/* A date, a wildcard or a list of names is none. */
bool index_name_flaw(const char *name, char out[INDEX_NAME_FLAW])
{
    enum { LONGEST = 255 }; /* bytes */
    size_t len = strlen(name), odd = strcspn(name, "\\/*?\"<>| ,#:");
    bool upper = name[strcspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")];
    out[0] = '\0';
    if (len == 0)
        snprintf(out, INDEX_NAME_FLAW, "is empty");
    else if (odd < len)
        snprintf(out, INDEX_NAME_FLAW, "must be the name of one index: it cannot hold '%c'",
                 name[odd]);
    else if (upper)
        snprintf(out, INDEX_NAME_FLAW, "must be in lower case, as index names are");
    else if (strchr("-_+", *name))
        snprintf(out, INDEX_NAME_FLAW, "cannot begin with '%c'", *name);
    else if (!index_name_is_utf8(name))
        snprintf(out, INDEX_NAME_FLAW, "is not UTF-8");
    else if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || len > LONGEST)
        snprintf(out, INDEX_NAME_FLAW, "is no name that an index can have");
    return out[0];
}
