---@meta etl
-- For editors (LuaCATS): every field of a script and every function of `require "etl"`. The engine
-- never runs this file. A long description stands above its field.

-- -------------------------------------------------------------------------------------- the script

---The table that a script returns. Write `---@type etl.Pipeline` above `return {`. A script may
---also return a list of such tables, `return { films, persons }`, with different names, states and
---indexes: they run in one process.
---@class etl.Pipeline
---@field name string               the pipeline's name, for messages and the state
---@field source etl.Source         the rows to read
---How a document is made from a row (default: every column of the query becomes a field of the same
---name).
---@field document? etl.Template|etl.DocumentFunction
---@field sink etl.Sink             where the documents are written
---Path of the state file, relative to the folder where the engine is started unless it begins with
---"/". Each pipeline needs its own file.
---@field state string
---With --follow: seconds between two checks for changes (default 1; at least 0.01).
---@field poll_interval? number
---With --follow: seconds between two sweeps, which find the changes that polling cannot see:
---deleted rows, and rows whose cursor did not change (default 3600, with capture = "wal" 0; 0: only
---where the log cannot tell what has changed).
---@field sweep? number
---A run, or an hour of --follow, that rejects more documents than this stops (default 1000). A key
---counts once.
---@field max_rejected? integer
---Called once before anything is read; an error ends the run.
---@field before_run? fun(run: etl.Run)
---@field after_run? fun(run: etl.RunResult) called once after the last document
---Rows with the documents that they give: `etl-engine test SCRIPT` compares them. A run ignores
---them.
---@field examples? etl.Example[]

---The fields of a document. Each is the name of a column (NULL: the field is left out), a function
---of the row (nil: the field is left out), or a table of such fields. A column that the query does
---not have is an error at the start.
---@alias etl.Template table<string, string|etl.FieldFunction|etl.Template>

---Makes the value of a field from a row: anything that a document can hold. nil leaves the field
---out.
---@alias etl.FieldFunction fun(row: etl.Row): any

---Makes the whole document from a row. nil: this key has no document, and an existing one is
---deleted. A function may also end without `return` for some rows; a function that never returns
---anything is a mistake.
---@alias etl.DocumentFunction fun(row: etl.Row): table?, etl.Metadata?

---Where a document is written.
---@class etl.Metadata
---The document's index (default: `sink.index`): one of `sink.indices`, which must be set.
---@field index? string
---@field routing? string|integer   its routing (default: its key); `sink.indices` must be set
---@field pipeline? string          its ingest pipeline (default: that of the index)

---A row: column name to value. NULL is nil; reading a column that the query does not have is an
---error. Integers stay exact; json columns and big numerics have types of their own (`etl.Json`,
---`etl.Decimal`); times are ISO 8601 strings; arrays are arrays; bytea is a string of bytes.
---@alias etl.Row table<string, any>

---A row as PostgreSQL might return it, and its document.
---@class etl.Example
---Column to value: texts, numbers, true and false, lists (arrays) and other tables (json). A column
---that is left out is NULL.
---@field row table<string, any>
---@field document? table           the whole document (default: the row has none)

---@class etl.Source
---libpq's connection string or URL. Variables such as PGHOST supply what it leaves out.
---@field url string
---@field table string              the root table: each row becomes one document
---The column of the query and of the table that becomes `_id`. Several columns, such as
---{ "a", "b" }: their values are joined by ":", and ":" and "\" in them are escaped by "\".
---@field key string|string[]
---How changes are noticed. "poll" (default): queries read the rows whose cursor has moved. "wal":
---from PostgreSQL's write-ahead log, deleted rows too, and no table needs a cursor.
---@field capture? "poll"|"wal"
---With capture = "wal": the replication slot on the server. The first run creates it. Pipelines of
---one process that name the same slot share it. Default: "etl_" and the pipeline's name; in a list,
---"etl_", the file's name and the database's, so that the list shares one.
---@field slot? string
---Likewise the publication, with all tables of the script (default: named like the slot).
---@field publication? string
---With capture = "wal": bytes of keys of changed rows that may wait on disk, next to the state;
---more are dropped, and a sweep finds what they were about (default 1073741824; at least 1048576).
---@field journal_limit? integer
---The table's column that says when a row last changed. Without a cursor, sweeps compare all rows.
---capture = "wal" ignores it.
---@field cursor? string
---Seconds below the highest cursor seen, and below the start of the oldest open transaction, that
---are read again at each check (default 60): the most that a clock which sets cursors may be slow.
---@field lookback? number
---Seconds by which an open transaction may widen that window (default 600).
---@field horizon_limit? number
---@field query string              plain SQL that returns one row for each key; wrapped, not edited
---@field related? etl.Related[]    tables whose changes change documents

---@class etl.Related
---@field table string              the related table
---@field key string|string[]       its key column, or several
---The column that says when a row last changed. Without it, only the sweep finds changes.
---@field cursor? string
---The related table's column with the root's key (as many columns as that key has), or a query from
---keys of the related table to root keys. In the query, `$1` is an array of keys; a key of several
---columns has one array for each: `$1`, `$2`, ... The root keys may have another type that
---PostgreSQL converts to the key's type: smallint, the text of a uuid.
---@field affects string|string[]
---The document's field that holds the related key, such as "actors.id". If a row changes, the
---documents that still hold its key are rebuilt, too, even if the row no longer leads to them.
---(Only the sweep finds a deleted row.)
---@field index_field? string

---@class etl.Sink
---The search server, such as "http://user:password@127.0.0.1:9200". Several nodes of one cluster,
---which are used in turn: a list, or one string with commas between them.
---@field url string|string[]
---The index that documents are written to, or an alias of it: one name, in lower case.
---@field index string
---The indices that documents with their own index or routing may be in: names with "*", separated
---by commas, such as "films-*". `index` is always one of them.
---@field indices? string
---gzip for requests and answers (default: true unless the server is on this machine).
---@field compress? boolean
---Bytes of documents in one request; each worker needs memory for them (default 5 MB; sizes from 1
---to 10 MB perform alike).
---@field batch_bytes? integer
---The most documents per second, for a first load that spares the servers (at least 10; default: no
---limit).
---@field max_rate? number
---The user name; it takes precedence over the URL's. For each of these fields there is a variable
---that takes precedence over the field: ELASTICSEARCH_USER, ELASTICSEARCH_PASSWORD,
---ELASTICSEARCH_API_KEY, ... `etl.secret` lists the other places where its value may be.
---@field user? string
---@field password? string          the user's password
---@field api_key? string           instead of a user: "id:key", or both in base64
---@field bearer_token? string      instead of a user: a token
---"aws:amz:REGION:SERVICE": requests are signed for Amazon with AWS_ACCESS_KEY_ID,
---AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or with user and password.
---@field aws_sigv4? string
---A file with the certificates of the trusted authorities (default: the system's).
---@field ca? string
---Instead of `ca`: the SHA-256 of the authority's certificate, which the server sends with its own.
---@field ca_fingerprint? string
---@field client_cert? string       a file with our own certificate
---@field client_key? string        a file with its key, if the key is not in the same file
---false: any certificate is accepted, with a warning (default true).
---@field verify? boolean
---The index's settings when it is created. Settings that an open index cannot change are compared
---later.
---@field settings? table
---The index's mappings. Later, new fields are added, and a change that the index does not allow is
---an error (`etl-engine reindex SCRIPT` makes a new index).
---@field mappings? table

---The argument of `before_run`.
---@class etl.Run
---@field pipeline string           the pipeline's name
---@field dry_run boolean           true: documents are printed, and nothing is written

---The argument of `after_run`.
---@class etl.RunResult: etl.Run
---@field documents integer         documents that the index has accepted
---@field deleted integer           documents that were deleted
---@field rejected integer          documents that the index refused, or for which `document` failed
---@field seconds number            the duration of the run
---@field ok boolean                whether the run was completed

-- ------------------------------------------------------------------------------------- the Lua API

---@class etl
---@field null lightuserdata        JSON null (the value of cjson.null): such a field becomes null
---@field json etl.json
---@field pg etl.pg
---@field es etl.es
---@field state etl.state
---@field log etl.log
local etl = {}

---Marks a table as an array and returns it: it becomes `[...]`, even if it is empty or has holes
---(null).
---@generic T: table
---@param t T
---@param n? integer                the length, if the array has holes
---@return T
function etl.array(t, n) end

---Returns a number that keeps all its digits.
---@param value string|number
---@return etl.Decimal
function etl.decimal(value) end

---@class etl.Decimal
local Decimal = {}

---Returns an integer if the digits are one within int64, else the nearest float.
---@return number
function Decimal:tonumber() end

---Returns a string of bytes in base64.
---@param bytes string
---@return string
function etl.base64(bytes) end

---Returns a secret by its name, such as "DATABASE_URL": the environment variable of that name; else
---the content of the file that the variable NAME_FILE names, without its final line break; else the
---content of the file with that name, in lower case, in systemd's credentials folder. nil if there
---is none.
---@param name string
---@return string?
function etl.secret(name) end

---A JSON value that is copied into documents unchanged, and is decoded when a script indexes it:
---`film.actors[1].name`, `#film.actors`.
---@class etl.Json
---@field [string|integer] any

---@class etl.json
local json = {}

---Returns the JSON text of a value, as in documents: fields are sorted by name, numbers are exact.
---@param value any
---@return string
function json.encode(value) end

---Returns the value of a JSON text: integers stay integers, numbers that a float cannot hold become
---decimals, null becomes `etl.null`.
---@param text string
---@return any
function json.decode(text) end

---Returns a JSON value of a text that is already JSON; documents contain the text unchanged.
---@param text string
---@return etl.Json
function json.raw(text) end

---PostgreSQL, through a pooled connection to `source.url`. It is not available while the script is
---being loaded.
---@class etl.pg
local pg = {}

---Returns all rows of a query. `$1`, `$2` stand for the further arguments: nil is NULL, a list is a
---PostgreSQL array, any other table is its JSON.
---@param sql string
---@param ... any
---@return etl.Row[]
function pg.query(sql, ...) end

---Iterates over the rows of a query, which are never all in memory:
---`for row in etl.pg.rows(sql) do ... end`.
---@param sql string
---@param ... any
---@return fun(): etl.Row?
function pg.rows(sql, ...) end

---The search server at `sink.url`. It is not available while the script is being loaded.
---@class etl.es
local es = {}

---Sends one request. An answer that is not JSON is returned as a string, an empty one as nil. If
---one of several nodes does not answer, the request is sent to another node, so it may be executed
---twice.
---@param method "GET"|"HEAD"|"POST"|"PUT"|"DELETE"
---@param path string               the path, such as "/movies/_search"
---@param body? table|string        a table is encoded as JSON
---@return integer status
---@return table|string answer
function es.request(method, path, body) end

---Calls `fn(...)` until it succeeds, with longer and longer waits between the tries. Returns the
---result of fn, or gives up with its error.
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
---@field max_value? number                 expo and fibo: the longest wait; seconds
---@field interval? number                  constant: seconds, default 1
---@field max_tries? integer                the number of tries before it gives up
---@field max_time? number                  the number of seconds before it gives up
---full: a random time up to the wait; random: up to a second more than the wait
---@field jitter? "full"|"random"|"none"
---"error": try again if fn raises an error. This is the default unless `retry_if` is set.
---@field retry_on? "error"
---@field retry_if? fun(result: any): boolean   try again if this returns true for fn's result
---@field giveup? fun(err: any): boolean    true: give up without another try
---@field on_backoff? fun(details: etl.BackoffDetails)  before each wait
---@field on_success? fun(details: etl.BackoffDetails)  after the try that succeeded
---@field on_giveup? fun(details: etl.BackoffDetails)   after the last try that failed

---@class etl.BackoffDetails
---@field tries integer             the number of tries so far, from 1
---@field elapsed number            seconds since the first try began
---@field wait? number              on_backoff: seconds until the next try
---@field value? any                the value that fn returned, if it returned one
---@field error? any                the value that fn raised, if it raised one
---@field args any[]                the arguments of fn

---@class etl.state
local state = {}

---Returns the content of the state file, or nil if there is none.
---@return table?
function state.read() end

---Writes log lines to stderr; the format is that of string.format.
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
