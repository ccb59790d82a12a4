#include "script/pipeline_internal.h"

#include <assert.h>
#include <stddef.h>

#define SECONDS_MAX 1e9  /* 31 years: in microseconds it fits an int64_t with room to add to */
#define WHOLE_MAX 0x1p53 /* all whole numbers up to it are exact as a double */
static const struct pipeline_range LOOKBACK = {0, SECONDS_MAX, false, -1};
static const struct pipeline_range HORIZON_LIMIT = {0, SECONDS_MAX, true, 600};
/* less would be a busy loop */
static const struct pipeline_range POLL_INTERVAL = {0.01, SECONDS_MAX, false, 1};
static const struct pipeline_range SWEEP = {0, SECONDS_MAX, false, PIPELINE_SWEEP_UNSET};
/* The least: a batch of 1,000 keys must be through before its rows are too old to be sent. */
static const struct pipeline_range MAX_RATE = {10, SECONDS_MAX, false, 0};
/* The most is what a server takes in one request, if nobody has told it otherwise. */
static const struct pipeline_range BATCH_BYTES = {64 << 10, 100 << 20, false, 5 << 20};
static const struct pipeline_range JOURNAL_LIMIT = {1 << 20, WHOLE_MAX, false, 1 << 30};
static const struct pipeline_range MAX_REJECTED = {0, WHOLE_MAX, false, 1000};

const struct pipeline_field pipeline_fields[] = {
#define AT(member) offsetof(struct pipeline, member)
#define IN(member) offsetof(struct pipeline_related, member)
    {"", "name", PIPELINE_TEXT, PIPELINE_REQUIRED, AT(name), 0, NULL},
    {"", "source", PIPELINE_GROUP, PIPELINE_REQUIRED, 0, 0, NULL},
    {"", "document", PIPELINE_DOCUMENT, PIPELINE_OPTIONAL, 0, 0, NULL},
    {"", "sink", PIPELINE_GROUP, PIPELINE_REQUIRED, 0, 0, NULL},
    {"", "state", PIPELINE_TEXT, PIPELINE_TO_WRITE, AT(state), AT(state_line), NULL},
    {"", "poll_interval", PIPELINE_NUMBER, PIPELINE_OPTIONAL, AT(poll_interval), 0, &POLL_INTERVAL},
    {"", "sweep", PIPELINE_NUMBER, PIPELINE_OPTIONAL, AT(sweep), 0, &SWEEP},
    {"", "max_rejected", PIPELINE_WHOLE, PIPELINE_OPTIONAL, AT(max_rejected), 0, &MAX_REJECTED},
    {"", "before_run", PIPELINE_FUNCTION, PIPELINE_OPTIONAL, 0, 0, NULL},
    {"", "after_run", PIPELINE_FUNCTION, PIPELINE_OPTIONAL, 0, 0, NULL},
    {"", "examples", PIPELINE_EXAMPLES, PIPELINE_OPTIONAL, 0, 0, NULL},

    {"source", "url", PIPELINE_EMPTY_TEXT, PIPELINE_TO_READ, AT(source.url), AT(source.url_line),
     NULL},
    {"source", "table", PIPELINE_TEXT, PIPELINE_REQUIRED, AT(source.table), AT(source.table_line),
     NULL},
    {"source", "key", PIPELINE_COLUMNS, PIPELINE_REQUIRED, AT(source.key), AT(source.key_line),
     NULL},
    {"source", "capture", PIPELINE_CAPTURE, PIPELINE_OPTIONAL, AT(source.wal),
     AT(source.capture_line), NULL},
    {"source", "slot", PIPELINE_SLOT, PIPELINE_OPTIONAL, AT(source.slot), 0, NULL},
    {"source", "publication", PIPELINE_PUBLICATION, PIPELINE_OPTIONAL, AT(source.publication), 0,
     NULL},
    {"source", "journal_limit", PIPELINE_WHOLE, PIPELINE_OPTIONAL, AT(source.journal_limit), 0,
     &JOURNAL_LIMIT},
    {"source", "cursor", PIPELINE_TEXT, PIPELINE_OPTIONAL, AT(source.cursor),
     AT(source.cursor_line), NULL},
    {"source", "lookback", PIPELINE_NUMBER, PIPELINE_OPTIONAL, AT(source.lookback), 0, &LOOKBACK},
    {"source", "horizon_limit", PIPELINE_NUMBER, PIPELINE_OPTIONAL, AT(source.horizon_limit), 0,
     &HORIZON_LIMIT},
    {"source", "query", PIPELINE_QUERY, PIPELINE_REQUIRED, AT(source.query), AT(source.query_line),
     NULL},
    /* after the key: affects is compared with it */
    {"source", "related", PIPELINE_LIST, PIPELINE_OPTIONAL, 0, 0, NULL},

    {"related", "table", PIPELINE_TEXT, PIPELINE_REQUIRED, IN(table), IN(table_line), NULL},
    {"related", "key", PIPELINE_COLUMNS, PIPELINE_REQUIRED, IN(key), IN(key_line), NULL},
    {"related", "cursor", PIPELINE_TEXT, PIPELINE_OPTIONAL, IN(cursor), IN(cursor_line), NULL},
    {"related", "affects", PIPELINE_AFFECTS, PIPELINE_REQUIRED, 0, IN(affects_line), NULL},
    {"related", "index_field", PIPELINE_TEXT, PIPELINE_OPTIONAL, IN(index_field),
     IN(index_field_line), NULL},

    {"sink", "url", PIPELINE_URLS, PIPELINE_TO_WRITE, AT(sink.url), AT(sink.url_line), NULL},
    {"sink", "index", PIPELINE_INDEX, PIPELINE_REQUIRED, AT(sink.index), AT(sink.index_line), NULL},
    {"sink", "indices", PIPELINE_TEXT, PIPELINE_OPTIONAL, AT(sink.indices), 0, NULL},
    {"sink", "compress", PIPELINE_CHOICE, PIPELINE_OPTIONAL, AT(sink.compress), 0, NULL},
    {"sink", "max_rate", PIPELINE_NUMBER, PIPELINE_OPTIONAL, AT(sink.max_rate), 0, &MAX_RATE},
    {"sink", "batch_bytes", PIPELINE_WHOLE, PIPELINE_OPTIONAL, AT(sink.batch_bytes), 0,
     &BATCH_BYTES},
    {"sink", "user", PIPELINE_TEXT, PIPELINE_OPTIONAL, AT(sink.security.user), 0, NULL},
    {"sink", "password", PIPELINE_TEXT, PIPELINE_OPTIONAL, AT(sink.security.password), 0, NULL},
    {"sink", "api_key", PIPELINE_TEXT, PIPELINE_OPTIONAL, AT(sink.security.api_key), 0, NULL},
    {"sink", "bearer_token", PIPELINE_TEXT, PIPELINE_OPTIONAL, AT(sink.security.bearer_token), 0,
     NULL},
    {"sink", "aws_sigv4", PIPELINE_TEXT, PIPELINE_OPTIONAL, AT(sink.security.aws_sigv4), 0, NULL},
    {"sink", "ca", PIPELINE_TEXT, PIPELINE_OPTIONAL, AT(sink.security.ca), 0, NULL},
    {"sink", "ca_fingerprint", PIPELINE_TEXT, PIPELINE_OPTIONAL, AT(sink.security.ca_fingerprint),
     0, NULL},
    {"sink", "client_cert", PIPELINE_TEXT, PIPELINE_OPTIONAL, AT(sink.security.client_cert), 0,
     NULL},
    {"sink", "client_key", PIPELINE_TEXT, PIPELINE_OPTIONAL, AT(sink.security.client_key), 0, NULL},
    {"sink", "verify", PIPELINE_FLAG, PIPELINE_OPTIONAL, AT(sink.security.verify), 0, NULL},
    {"sink", "settings", PIPELINE_JSON, PIPELINE_OPTIONAL, AT(sink.settings),
     AT(sink.settings_line), NULL},
    {"sink", "mappings", PIPELINE_JSON, PIPELINE_OPTIONAL, AT(sink.mappings),
     AT(sink.mappings_line), NULL},
#undef AT
#undef IN
};
static_assert(sizeof pipeline_fields / sizeof *pipeline_fields == PIPELINE_FIELDS,
              "as the header says");
