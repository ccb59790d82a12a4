-- Films from PostgreSQL, one search document each.
--
--     etl-engine scripts/movies.lua               brings the index up to date
--     etl-engine scripts/movies.lua --dry-run     prints the documents, touches nothing
--
-- This file is all there is to edit: `source` says which rows, `document` says what a document is made of, and `sink` says
-- where the documents go. (scripts/etl.d.lua tells your editor every field's name and type.)

local etl = require "etl"

---@type etl.Pipeline
return {
  name = "movies",

  source = {
    -- The variable DATABASE_URL, or a secret of that name (systemd, containers); PGHOST, PGUSER and their like work, too.
    url    = etl.secret "DATABASE_URL" or "postgresql:///movies",
    table  = "content.film_work",  -- one row of this table, one document
    key    = "id",                 -- the query's column that becomes the document's _id
    cursor = "modified",           -- when a row last changed
    -- With this line, changes come from PostgreSQL's write-ahead log instead: at once, deleted rows too, and without a
    -- cursor. etl-engine-capture(7) says what that asks of the database.
    -- capture = "wal",

    -- Plain SQL, as you would type it into psql. The engine wraps it to ask for the films that it wants.
    query = [[
      SELECT fw.id, fw.title, fw.description, fw.rating, fw.type, fw.creation_date, fw.modified,
             g.genres,
             p.directors, p.actors, p.writers,
             p.directors_names, p.actors_names, p.writers_names
        FROM content.film_work fw
       CROSS JOIN LATERAL (
             SELECT coalesce(array_agg(g.name ORDER BY g.name), '{}') AS genres
               FROM content.genre_film_work gfw
               JOIN content.genre g ON g.id = gfw.genre_id
              WHERE gfw.film_work_id = fw.id
             ) g
       CROSS JOIN LATERAL (
             SELECT coalesce(json_agg(person ORDER BY name, id) FILTER (WHERE role = 'director'), '[]') AS directors,
                    coalesce(json_agg(person ORDER BY name, id) FILTER (WHERE role = 'actor'),    '[]') AS actors,
                    coalesce(json_agg(person ORDER BY name, id) FILTER (WHERE role = 'writer'),   '[]') AS writers,
                    coalesce(array_agg(name ORDER BY name, id) FILTER (WHERE role = 'director'), '{}') AS directors_names,
                    coalesce(array_agg(name ORDER BY name, id) FILTER (WHERE role = 'actor'),    '{}') AS actors_names,
                    coalesce(array_agg(name ORDER BY name, id) FILTER (WHERE role = 'writer'),   '{}') AS writers_names
               FROM (SELECT pfw.role, p.id, p.full_name AS name,
                            json_build_object('id', p.id, 'name', p.full_name) AS person
                       FROM content.person_film_work pfw
                       JOIN content.person p ON p.id = pfw.person_id
                      WHERE pfw.film_work_id = fw.id) persons
             ) p
    ]],

    -- A change in one of these tables changes the films that it `affects`: a column of that table with the film's key,
    -- or a query from that table's changed keys ($1, an array) to the films' keys.
    related = {
      { table = "content.person_film_work", key = "id", cursor = "modified", affects = "film_work_id" },
      { table = "content.genre_film_work",  key = "id", cursor = "modified", affects = "film_work_id" },
      { table = "content.person",           key = "id", cursor = "modified",
        affects = "SELECT film_work_id FROM content.person_film_work WHERE person_id = ANY($1)" },
      { table = "content.genre",            key = "id", cursor = "modified",
        affects = "SELECT film_work_id FROM content.genre_film_work WHERE genre_id = ANY($1)" },
    },
  },

  -- The document's fields, each with the column that it gets. A field whose column is NULL is left out. What needs a
  -- thought is a function of the row: year = function(film) return tonumber(film.creation_date:sub(1, 4)) end
  document = {
    id              = "id",
    title           = "title",
    description     = "description",
    imdb_rating     = "rating",
    type            = "type",
    creation_date   = "creation_date",
    genres          = "genres",     -- an array stays an array, even an empty one
    directors       = "directors",  -- a json column goes into the document as it is
    actors          = "actors",
    writers         = "writers",
    directors_names = "directors_names",
    actors_names    = "actors_names",
    writers_names   = "writers_names",
  },

  sink = {
    url   = etl.secret "ELASTICSEARCH_URL" or "http://127.0.0.1:9200",
    index = "movies",

    -- The index is created with these. Later, what is new in mappings is added to it; what no index can change takes a new
    -- one: etl-engine reindex.
    settings = {
      number_of_shards   = 1,
      number_of_replicas = 0,     -- raise it where there is more than one node
      refresh_interval   = "1s",  -- how soon a change can be found
      analysis = {
        filter = {
          english_possessive_stemmer = { type = "stemmer", language = "possessive_english" },  -- Schindler's: schindler
          english_stop               = { type = "stop",    stopwords = "_english_" },
          english_stemmer            = { type = "stemmer", language = "english" },             -- dreaming: dream
          russian_stop               = { type = "stop",    stopwords = "_russian_" },
          russian_stemmer            = { type = "stemmer", language = "light_russian" },       -- тумане: туман
        },
        char_filter = {
          yo = { type = "mapping", mappings = { "ё => е", "Ё => Е" } },  -- both spellings find each other
        },
        analyzer = {
          ru_en = {  -- for text in English, in Russian, or in both
            type = "custom",
            char_filter = { "yo" },
            tokenizer = "standard",
            filter = {
              "lowercase",
              "asciifolding",  -- Almodóvar: almodovar
              "english_possessive_stemmer",
              "english_stop",
              "russian_stop",
              "english_stemmer",
              "russian_stemmer",
            },
          },
        },
      },
    },

    mappings = {
      dynamic = "strict",  -- a field that is not listed here is an error, not a surprise
      properties = {
        id              = { type = "keyword" },
        title           = { type = "text", analyzer = "ru_en",
                            fields = { raw = { type = "keyword" } } },  -- title.raw: to sort by, or for the exact title
        description     = { type = "text", analyzer = "ru_en" },
        imdb_rating     = { type = "float" },
        type            = { type = "keyword" },
        creation_date   = { type = "date" },
        genres          = { type = "keyword" },
        directors_names = { type = "text", analyzer = "ru_en" },
        actors_names    = { type = "text", analyzer = "ru_en" },
        writers_names   = { type = "text", analyzer = "ru_en" },
        -- nested: each person is searched as a whole, so that an id and a name must be the same person's
        directors = { type = "nested", dynamic = "strict",
                      properties = { id = { type = "keyword" }, name = { type = "text", analyzer = "ru_en" } } },
        actors    = { type = "nested", dynamic = "strict",
                      properties = { id = { type = "keyword" }, name = { type = "text", analyzer = "ru_en" } } },
        writers   = { type = "nested", dynamic = "strict",
                      properties = { id = { type = "keyword" }, name = { type = "text", analyzer = "ru_en" } } },
      },
    },
  },

  -- Where the engine notes how far it came. Without this file it loads everything.
  state = os.getenv "FILE_PATH_STATE" or "postgres_to_es/es/es_data/state",
}
