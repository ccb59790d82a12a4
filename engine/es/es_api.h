/* es_api: every request that the engine sends to a search server; this file has no code. A test
 * compares the engine's requests with this list: a new request is added here first, after its
 * documentation was checked for all of these servers.
 *
 * Tested      Elasticsearch 7.10.2, 8.19.21 and 9.5.3, OpenSearch 2.19.1 and 3.8.0: the tests run
 *             on each of them. Each request names the page of the reference (8.19) that describes
 *             it.
 *
 * Not used, since 8 and 9 refuse them: types (/INDEX/TYPE, _type, include_type_name). Not used,
 * since it is deprecated: scroll ids in a URL. Not used, since the servers differ: points in time;
 * must_exist in _aliases (7.10 refuses it); media types with a version (only 8 and 9 know them). No
 * request has a parameter that is not listed here, since servers refuse unknown ones.
 *
 * GET     /
 *         The server's name and version; an answer other than 200 counts as none.
 *
 * POST    /INDEX/_bulk            filter_path require_alias
 *         "Bulk API". In an action: _id, version, version_type "external_gte", and where a document
 *         has its own: _index, routing, pipeline (not for a delete). In an answer: errors, and of
 *         each item _index, _id, _version, result, status and error. The page of the index API on
 *         external_gte: an equal version is written again.
 *
 * POST    /INDEX/_mget            _source filter_path
 *         "Multi get (mget) API". A body of ids, or of docs with _id, _index, routing. Realtime.
 *
 * POST    /INDEX/_count           filter_path
 *         "Count API".
 *
 * POST    /INDEX/_search          scroll allow_partial_search_results filter_path
 *         "Search API". In a body: size (up to index.max_result_window, 10,000), sort ["_doc"],
 *         _source, version, track_total_hits, and as the query: ids, terms, bool, nested,
 *         exists (of _routing), function_score with random_score.
 *
 * POST    /_search/scroll         filter_path
 *         "Scroll API", with scroll and scroll_id in the body. "No longer recommended" for deep
 *         paging, but neither deprecated nor removed; nothing else scans an index on all of these
 *         servers.
 *
 * DELETE  /_search/scroll
 *         "Clear scroll API", with scroll_id in the body.
 *
 * GET     /INDEX/_settings/NAME   flat_settings ignore_unavailable include_defaults
 *         "Get index settings API".
 *
 * GET     /INDEX/_mapping         filter_path ignore_unavailable
 *         "Get mapping API". Without types.
 *
 * GET     /INDEX                  flat_settings
 *         "Get index API". Used of its answer: aliases, mappings and settings.
 *
 * PUT     /INDEX
 *         "Create index API". settings and mappings are the user's; the engine adds
 *         index.gc_deletes and _meta. `check` sends index.number_of_shards 0, for its refusal.
 *
 * PUT     /INDEX/_mapping
 *         "Update mapping API": the script's fields that the index is missing, and _meta.
 *
 * PUT     /INDEX/_settings
 *         "Update index settings API": index.refresh_interval and index.number_of_replicas; null
 *         resets them.
 *
 * DELETE  /INDEX
 *         "Delete index API". Of one index, by its own name.
 *
 * GET     /INDEX/_alias/NAME
 * GET     /INDEX/_alias
 *         "Get alias API". INDEX is a name with a wildcard.
 *
 * DELETE  /INDEX/_doc/ID          if_seq_no if_primary_term
 *         "Delete API". Of `check` alone, for its refusal: no document has that number, so nothing
 *         is deleted.
 *
 * POST    /_aliases
 *         "Aliases API", with the actions add, remove and remove_index.
 *
 * POST    /INDEX/_refresh
 *         "Refresh API".
 *
 * POST    /_index_template/_simulate
 *         "Simulate index template API", without a name: the template in the body is checked, and
 *         not kept. Of `check` alone; an answer other than 200 and 400 counts as none.
 *
 * GET     /_ingest/pipeline
 *         "Get pipeline API". Of `check` alone, where the index names one.
 *
 * POST    /_security/user/_has_privileges
 *         "Has privileges API". Of `check` alone; an answer other than 200 counts as none, as
 *         OpenSearch has no such request.
 *
 * Bodies of more than 1 KB may be compressed (Content-Encoding: gzip), and so may answers be
 * (Accept-Encoding: gzip): see gzip.h.
 *
 * INDEX may be an alias, and in searches a list with wildcards (as %2A and %2C). Errors are read as
 * {"error":{"type","reason","caused_by"},"status"}.
 */
