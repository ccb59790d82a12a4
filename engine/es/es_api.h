/* es_api: what we ask of a search server; this file has no code. A test holds every request that
 * the engine makes against this list: a new one is written down here first, and looked up for all
 * these servers.
 *
 * Tried      Elasticsearch 7.10.2, OpenSearch 2.19.1 and 3.8.0: the tests run on each of them.
 * Not tried  Elasticsearch 8 and 9: what is said of them is their documentation's word. Each
 *            request names the page of the reference (8.19) that describes it; its parameters and
 *            fields also stand, not deprecated, in Elastic's machine-readable description
 *            (elasticsearch-specification).
 *
 * Not used, since 8 and 9 refuse it: types (/INDEX/TYPE, _type, include_type_name). Not used, since
 * it is deprecated: scroll ids in a URL. Not used, since not all have it in one form: points in
 * time; the headers and checks that tell one product from another. No request has a parameter that
 * is not written here, for servers refuse those they do not know.
 *
 * POST    /INDEX/_bulk            filter_path
 *         "Bulk API". In an action: _id, version, version_type "external_gte", and where a document
 *         has its own: _index, routing, pipeline (not for a delete). In an answer: errors, and of
 *         each item _id, status and error. The page of the index API on external_gte: an equal
 *         version is written again.
 *
 * POST    /INDEX/_mget            _source filter_path
 *         "Multi get (mget) API". A body of ids, or of docs with _id, _index, routing. Realtime.
 *
 * POST    /INDEX/_count           filter_path
 *         "Count API".
 *
 * POST    /INDEX/_search          scroll allow_partial_search_results filter_path
 *         "Search API". In a body: size (up to index.max_result_window, 10,000), sort ["_doc"],
 *         _source, version, track_total_hits, and as the query: ids, terms, bool, nested.
 *
 * POST    /_search/scroll         filter_path
 *         "Scroll API", with scroll and scroll_id in the body. "No longer recommended" for deep
 *         paging, yet neither deprecated nor removed, and the only walk over an index that all
 *         these servers share.
 *
 * DELETE  /_search/scroll
 *         "Clear scroll API", with scroll_id in the body.
 *
 * GET     /INDEX/_settings/NAME   flat_settings include_defaults
 *         "Get index settings API".
 *
 * GET     /INDEX/_mapping         filter_path ignore_unavailable
 *         "Get mapping API". Without types.
 *
 * GET     /INDEX                  flat_settings
 *         "Get index API". Of its answer: mappings and settings.
 *
 * PUT     /INDEX
 *         "Create index API". settings and mappings are the user's; of ours are index.gc_deletes,
 *         and _meta.
 *
 * PUT     /INDEX/_mapping
 *         "Update mapping API": what the script's mappings name beyond the index's, and _meta.
 *
 * PUT     /INDEX/_settings
 *         "Update index settings API": index.refresh_interval and index.number_of_replicas; null
 *         resets them.
 *
 * DELETE  /INDEX
 *         "Delete index API". Of one index, by its own name.
 *
 * GET     /_alias/NAME
 * GET     /INDEX/_alias
 *         "Get alias API". INDEX is a name with a wildcard.
 *
 * POST    /_aliases
 *         "Aliases API", with the actions add, remove and remove_index.
 *
 * POST    /INDEX/_refresh
 *         "Refresh API".
 *
 * Bodies of more than 1 KB may be compressed (Content-Encoding: gzip), and so may answers be
 * (Accept-Encoding: gzip): see gzip.h.
 *
 * INDEX may be an alias, and where documents are looked for, a list with wildcards (as %2A and
 * %2C). Errors are read as {"error":{"type","reason","caused_by"},"status"}.
 */
