/* doc_location: where a document is, for pipelines whose documents choose their index or routing.
 *
 * Uses     nothing.
 */
#pragma once

/* Borrowed. NULL: the pipeline's own index; the shard that the key alone gives. */
struct doc_location {
    const char *index, *routing;
};
