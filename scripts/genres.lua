-- Genres, one document each, with the number of their films. scripts/movies.lua explains the form.
local movies = require "movies" -- the script next to this one: for its servers and its text analysis

---@type etl.Pipeline
return {
  name = "genres",

  source = {
    url    = movies.source.url,
    table  = "content.genre",
    key    = "id",
    cursor = "modified",
    query  = [[
      SELECT g.id, g.name, g.description,
             (SELECT count(*) FROM content.genre_film_work gfw WHERE gfw.genre_id = g.id) AS films
        FROM content.genre g
    ]],
    related = {
      { table = "content.genre_film_work", key = "id", cursor = "modified", affects = "genre_id" },
    },
  },

  document = {
    id          = "id",
    name        = "name",
    description = "description",
    films       = "films",
  },

  sink = {
    url      = movies.sink.url,
    index    = "genres",
    settings = movies.sink.settings,
    mappings = {
      dynamic = "strict",
      properties = {
        id          = { type = "keyword" },
        name        = { type = "text", analyzer = "ru_en", fields = { raw = { type = "keyword" } } },
        description = { type = "text", analyzer = "ru_en" },
        films       = { type = "integer" },
      },
    },
  },

  state = movies.state .. ".genres", -- each pipeline has its own state
}
