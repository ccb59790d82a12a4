---@meta etl
-- For editors (LuaCATS): every field of a script and every function of `require "etl"`. It is never run.

-- ---------------------------------------------------------------------------------------------------- the script

---What a script returns. Write `---@type etl.Pipeline` above `return {`.
---@class etl.Pipeline
---@field name string                       the pipeline's name, for messages and the state
---@field source etl.Source                 which rows
---@field document? etl.Template|etl.DocumentFunction what a document is made of (default: every column of the query is a
---                                         field of its name)
---@field sink etl.Sink                     where the documents go
---@field state string                      path of the state file, from the folder where the engine is started unless it begins with "/";
---                                         each pipeline needs its own
---@field poll_interval? number             with --follow: seconds between two looks for changes (default 1; at least 0.01)
---@field sweep? number                     with --follow: seconds between two sweeps, which find what polling cannot see: deleted
---                                         rows, and rows whose cursor did not move (default 3600; 0: never)
---@field max_rejected? integer             a run that has rejected more documents than this stops (default 1000)
---@field before_run? fun(run: etl.Run)     called once before anything is read; an error ends the run
---@field after_run? fun(run: etl.RunResult) called once after the last document

---The fields of a document. Each is the name of a column (NULL: the field is left out), a function of the row (nil: the
---field is left out), or a table of such fields. A column that the query does not have is an error at the start.
---@alias etl.Template table<string, string|etl.FieldFunction|etl.Template>

---Makes a field's value of a row: anything that a document can hold; nil leaves the field out.
---@alias etl.FieldFunction fun(row: etl.Row): any

---Makes the whole document of a row; nil: this key has no document, and an existing one is deleted. To end without `return`
---is the same, for some rows; a function that never returns anything is a mistake.
---@alias etl.DocumentFunction fun(row: etl.Row): table?, etl.Metadata?

---Where a document goes.
---@class etl.Metadata
---@field index? string             its index (default: `sink.index`); one of `sink.indices`, which has to be given
---@field routing? string|integer   its routing (default: its key); `sink.indices` has to be given
---@field pipeline? string          the ingest pipeline that it passes through (default: the index's own)

---A row: column name to value. NULL is nil; reading a column that the query does not have is an error. Integers stay exact;
---json columns and big numerics are values of their own (`etl.Json`, `etl.Decimal`); times are ISO 8601 strings; arrays are
---arrays; bytea is a string of bytes.
---@alias etl.Row table<string, any>

---@class etl.Source
---@field url string                libpq's connection string or URL; PGHOST and its like fill in what it leaves out
---@field table string              the root table: one row of it, one document
---@field key string|string[]       the query's and the table's column that becomes `_id`, or several: { "a", "b" } becomes
---                                 their values joined by ":" (with ":" and "\" in them escaped by "\")
---@field cursor? string            the table's column that says when a row last changed; none: sweeps compare all
---@field lookback? number          seconds below the highest cursor seen, and below the oldest open transaction's start,
---                                 that are read again at each look (default 60): how far clocks that set cursors may
---                                 be behind
---@field horizon_limit? number     seconds that a transaction left open may widen that window (default 600)
---@field query string              plain SQL that yields one row for each key; it is wrapped, never edited
---@field related? etl.Related[]    tables whose changes change documents

---@class etl.Related
---@field table string              the related table
---@field key string|string[]       its key column, or several
---@field cursor? string            its column that says when a row last changed; none: only the sweep finds its changes
---@field affects string|string[]   its column with the root's key (as many columns as that has), or a query from its keys (`$1`,
---                                 an array; `$2`, ... one for each column of its key) to root keys; they may be of another type
---                                 that PostgreSQL makes the key's of: smallint, a uuid's text
---@field index_field? string       the document's field that holds its key, such as "actors.id": where a row changes, the
---                                         documents that still hold it, though nothing leads from it to them any more,
---                                         are made anew, too. (A deleted row is found by the sweep alone.)

---@class etl.Sink
---@field url string|string[]       the search server, such as "http://user:password@127.0.0.1:9200"; or several nodes of
---                                 one cluster, which take turns: a list, or one string with commas between
---@field index string              the index that documents go to, or an alias of it: one name, in lower case
---@field indices? string          where documents may be that choose their index or routing: names with "*", with commas
---                                 between, such as "films-*"; `index` is always among them
---@field compress? boolean         gzip for what is sent and answered (default: unless the server is this very machine)
---@field batch_bytes? integer      bytes of documents that one request holds, and so what each worker needs of memory (default 5 MB; 1 to 10 MB are alike)
---@field max_rate? number          documents a second at most, for a quiet first load (at least 10; default: as fast as it goes)
---@field user? string             who we are; stronger than the URL's. Each of these fields has a variable that is stronger still:
---                                 ELASTICSEARCH_USER, ELASTICSEARCH_PASSWORD, ELASTICSEARCH_API_KEY, ... (`etl.secret` tells
---                                 where else that may stand)
---@field password? string
---@field api_key? string           instead: "id:key", or both in base64
---@field bearer_token? string      instead
---@field aws_sigv4? string         "aws:amz:REGION:SERVICE": requests are signed for Amazon, with AWS_ACCESS_KEY_ID,
---                                 AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or with user and password
---@field ca? string                a file: the certificates of the authorities that are believed (default: the system's)
---@field ca_fingerprint? string    instead: the SHA-256 of the authority's certificate, which the server presents with its own
---@field client_cert? string       a file: our own certificate
---@field client_key? string        a file: its key, if that does not stand in the same file
---@field verify? boolean           false: whatever certificate is believed, with a warning (default true)
---@field settings? table           the index's settings, when it is created; what no open index can change is compared later
---@field mappings? table           its mappings; later, what is new in them is added, and what cannot be changed is an error
---                                 (etl-engine reindex SCRIPT makes a new index)

---What `before_run` is told.
---@class etl.Run
---@field pipeline string           the pipeline's name
---@field dry_run boolean           true: documents are printed, nothing is written

---What `after_run` is told.
---@class etl.RunResult: etl.Run
---@field documents integer         documents that the index has taken
---@field deleted integer           documents deleted
---@field rejected integer          documents that were refused, or that `document` failed on
---@field seconds number            how long the run took
---@field ok boolean                whether the run came to its end

-- ---------------------------------------------------------------------------------------------------- the Lua API

---@class etl
---@field null lightuserdata        JSON null (the value of cjson.null): a field set to it is written as null
---@field json etl.json
---@field pg etl.pg
---@field es etl.es
---@field state etl.state
---@field log etl.log
local etl = {}

---Marks a table as an array and returns it: it is written as `[...]`, even where it is empty or has holes (null).
---@generic T: table
---@param t T
---@param n? integer                its length, where it has holes
---@return T
function etl.array(t, n) end

---A number that keeps all its digits.
---@param value string|number
---@return etl.Decimal
function etl.decimal(value) end

---@class etl.Decimal
local Decimal = {}

---The nearest Lua number.
---@return number
function Decimal:tonumber() end

---Base64 of a string of bytes.
---@param bytes string
---@return string
function etl.base64(bytes) end

---A secret by name, such as "DATABASE_URL": the environment variable of that name; else what is in the file that the variable
---NAME_FILE names (its final line break aside); else in the file of that name, in lower case, in systemd's credentials folder.
---nil where there is none.
---@param name string
---@return string?
function etl.secret(name) end

---A JSON value that goes into documents as it is, and is decoded when indexed: `film.actors[1].name`, `#film.actors`.
---@class etl.Json
---@field [string|integer] any

---@class etl.json
local json = {}

---JSON text of a value, just as in documents: fields in a stable order, numbers exact.
---@param value any
---@return string
function json.encode(value) end

---The value of a JSON text: integers stay integers, big numbers become decimals, null becomes `etl.null`.
---@param text string
---@return any
function json.decode(text) end

---Takes a text that already is JSON into a document, unparsed.
---@param text string
---@return etl.Json
function json.raw(text) end

---PostgreSQL, through a pooled connection to `source.url`. Not available while the script is being loaded.
---@class etl.pg
local pg = {}

---All rows of a query. `$1`, `$2` stand for the further arguments: nil is NULL, an `etl.array` is a PostgreSQL array.
---@param sql string
---@param ... any
---@return etl.Row[]
function pg.query(sql, ...) end

---The rows of a query one by one, never all in memory: `for row in etl.pg.rows(sql) do ... end`.
---@param sql string
---@param ... any
---@return fun(): etl.Row?
function pg.rows(sql, ...) end

---The search server at `sink.url`. Not available while the script is being loaded.
---@class etl.es
local es = {}

---One request. An answer that is not JSON comes as a string. With several nodes, one that gives no answer is asked again at
---another: the request may then be carried out twice.
---@param method "GET"|"HEAD"|"POST"|"PUT"|"DELETE"
---@param path string               such as "/movies/_search"
---@param body? table|string        a table is encoded as JSON
---@return integer status
---@return table|string answer
function es.request(method, path, body) end

---Calls `fn(...)` until it succeeds, waiting longer and longer; returns what it returned, or gives up with its error.
---@generic R
---@param options etl.BackoffOptions
---@param fn fun(...): R
---@param ... any
---@return R
function etl.backoff(options, fn, ...) end

---@class etl.BackoffOptions
---@field wait? "expo"|"fibo"|"constant"    how waits grow (default "expo": factor * base^n)
---@field base? number                      expo: default 2
---@field factor? number                    expo: seconds, default 1
---@field max_value? number                 expo and fibo: no wait is longer; seconds
---@field interval? number                  constant: seconds, default 1
---@field max_tries? integer                give up after so many tries
---@field max_time? number                  give up after so many seconds
---@field jitter? "full"|"random"|"none"    full: anything up to the wait; random: up to a second more
---@field retry_on? "error"                 try again when fn raises an error (the default)
---@field retry_if? fun(result: any): boolean   try again when this says so of fn's result
---@field giveup? fun(err: any): boolean    true: this error is not worth another try
---@field on_backoff? fun(details: etl.BackoffDetails)  before each wait
---@field on_success? fun(details: etl.BackoffDetails)  after the try that succeeded
---@field on_giveup? fun(details: etl.BackoffDetails)   after the last try that failed

---@class etl.BackoffDetails
---@field tries integer             tries so far, from 1
---@field elapsed number            seconds since the first try began
---@field wait? number              on_backoff: seconds until the next try
---@field value? any                what fn returned, where it returned
---@field error? any                what fn raised, where it raised
---@field args any[]                what fn was called with

---@class etl.state
local state = {}

---The state file's content, or nil where there is none.
---@return table?
function state.read() end

---Log lines on stderr; the format is that of string.format.
---@class etl.log
local log = {}

---@param format string
---@param ... any
function log.debug(format, ...) end

---@param format string
---@param ... any
function log.info(format, ...) end

---@param format string
---@param ... any
function log.warn(format, ...) end

---@param format string
---@param ... any
function log.error(format, ...) end

etl.json, etl.pg, etl.es, etl.state, etl.log = json, pg, es, state, log

return etl
