-- A pipeline for the manifests here: put yours in its place. The secrets are those of secret.yaml, and the state is a file on
-- the volume of state.yaml, where the engine is started.
local etl = require "etl"

return {
  name = "titles",
  source = {
    url    = etl.secret "DATABASE_URL",
    table  = "content.film_work",
    key    = "id",
    cursor = "modified",
    query  = "SELECT id, title FROM content.film_work",
  },
  document = { title = "title" },
  sink  = { url = etl.secret "ELASTICSEARCH_URL", index = "titles" },
  state = "titles.state",
}
