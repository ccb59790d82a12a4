-- Persons, one document each, with their films and what they did in them. scripts/movies.lua explains the form.
local movies = require "movies" -- the script next to this one: for its servers and its text analysis

---@type etl.Pipeline
return {
  name = "persons",

  source = {
    url    = movies.source.url,
    table  = "content.person",
    key    = "id",
    cursor = "modified",
    query  = [[
      SELECT p.id, p.full_name, f.films
        FROM content.person p
       CROSS JOIN LATERAL (
             SELECT coalesce(json_agg(json_build_object('id', id, 'title', title, 'roles', roles)), '[]') AS films
               FROM (SELECT fw.id, fw.title, array_agg(pfw.role ORDER BY pfw.role) AS roles
                       FROM content.person_film_work pfw
                       JOIN content.film_work fw ON fw.id = pfw.film_work_id
                      WHERE pfw.person_id = p.id
                      GROUP BY fw.id
                      ORDER BY fw.title, fw.id) films
             ) f
    ]],
    related = {
      { table = "content.person_film_work", key = "id", cursor = "modified", affects = "person_id" },
      { table = "content.film_work",        key = "id", cursor = "modified",
        affects = "SELECT person_id FROM content.person_film_work WHERE film_work_id = ANY($1)" },
    },
  },

  document = {
    id        = "id",
    full_name = "full_name",
    films     = "films",
  },

  sink = {
    url      = movies.sink.url,
    index    = "persons",
    settings = movies.sink.settings,
    mappings = {
      dynamic = "strict",
      properties = {
        id        = { type = "keyword" },
        full_name = { type = "text", analyzer = "ru_en", fields = { raw = { type = "keyword" } } },
        films     = {
          type = "nested",
          dynamic = "strict",
          properties = {
            id    = { type = "keyword" },
            title = { type = "text", analyzer = "ru_en" },
            roles = { type = "keyword" },
          },
        },
      },
    },
  },

  state = movies.state .. ".persons", -- each pipeline has its own state

  -- Rows and their documents: `etl-engine test scripts/persons.lua` compares them, without any server.
  examples = {
    { row      = { id = "5f0e", full_name = "Greta Gerwig", films = { { id = "91c4", title = "Little Women", roles = { "director" } } } },
      document = { id = "5f0e", full_name = "Greta Gerwig", films = { { id = "91c4", title = "Little Women", roles = { "director" } } } } },
    { row      = { id = "77aa", full_name = "Nobody", films = {} },
      document = { id = "77aa", full_name = "Nobody", films = {} } },
  },
}
