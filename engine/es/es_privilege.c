/* es_privilege: the privilege that a forbidden request requires, for its hint. */
#include "es/es_security.h"

#include <string.h>

/* OpenSearch counts what goes to several shards, or comes in pages, among the cluster's actions. */
#define COMPOSITE ", and cluster_composite_ops on the cluster)"

/* By the path's part that begins with '_'; "": the index itself. The first match counts. */
static const struct {
    const char *method, *part, *privilege;
} privileges[] = {
    {NULL, "_bulk", "'write' on the index (in OpenSearch indices:data/write/*" COMPOSITE},
    {NULL, "_doc", "'write' on the index (in OpenSearch indices:data/write/*" COMPOSITE},
    {NULL, "_refresh", "'maintenance' on the index (in OpenSearch indices:admin/refresh*)"},
    {NULL, "_mget", "'read' on the index (in OpenSearch indices:data/read/*" COMPOSITE},
    {NULL, "_count", "'read' on the index (in OpenSearch indices:data/read/*)"},
    {NULL, "_search", "'read' on the index (in OpenSearch indices:data/read/*" COMPOSITE},
    {"GET", "_settings",
     "'view_index_metadata' on the index (in OpenSearch indices:monitor/settings/get)"},
    {"GET", "_mapping",
     "'view_index_metadata' on the index (in OpenSearch indices:admin/mappings/get)"},
    {"GET", "", "'view_index_metadata' on the index (in OpenSearch indices:admin/get)"},
    {"PUT", "", "'create_index' on the index (in OpenSearch indices:admin/create)"},
    {"DELETE", "", "'delete_index' on the index (in OpenSearch indices:admin/delete)"},
    {"GET", "_ingest",
     "'read_pipeline' on the cluster (in OpenSearch cluster:admin/ingest/pipeline/get)"},
    {NULL, "_", "'manage' on the index (in OpenSearch indices:admin/*)"},
};
#undef COMPOSITE

/* Finds the first part of the path that begins with '_', up to the next '/' or '?'; "": none
 * does. */
static const char *special_part(const char *path, size_t *len)
{
    const char *end = path + strcspn(path, "?");
    for (const char *slash = path; slash < end; slash = slash + 1 + strcspn(slash + 1, "/?"))
        if (slash[1] == '_') {
            *len = strcspn(slash + 1, "/?");
            return slash + 1;
        }
    *len = 0;
    return "";
}

const char *es_security_privilege(const char *method, const char *path)
{
    size_t len;
    const char *part = special_part(path, &len);
    for (size_t i = 0; i < sizeof privileges / sizeof *privileges; i++) {
        size_t known = strlen(privileges[i].part);
        bool fits = known == len || (known == 1 && len > 0); /* "_": any other */
        if (fits && memcmp(part, privileges[i].part, known) == 0 &&
            (!privileges[i].method || strcmp(privileges[i].method, method) == 0))
            return privileges[i].privilege;
    }
    return NULL;
}
