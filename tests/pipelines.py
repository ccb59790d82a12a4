"""Scripts for the tests' own small tables."""


def lua(text):
    """The text as a Lua string, whatever is in it."""
    return '"' + "".join(f"\\{byte}" if byte < 32 or byte > 126 or byte in b'"\\' else chr(byte) for byte in text.encode()) + '"'


def pipeline(table="things", key="id", cursor="modified", query=None, document="return { v = row.v }", index="things",
             mappings=None, name="things", sink="", extra=""):
    """A script for a table; `document` is the body of its function of `row`."""
    fields = [f"table = {lua(table)}", f"key = {lua(key)}", f"query = {lua(query or f'SELECT * FROM {table}')}"]
    fields += [f"cursor = {lua(cursor)}"] if cursor else []
    return f"""
local etl = require "etl"
return {{
  name = {lua(name)},
  source = {{ url = os.getenv "DATABASE_URL", {", ".join(fields)} }},
  document = function(row) {document} end,
  sink = {{ url = os.getenv "ELASTICSEARCH_URL", index = {lua(index)}, mappings = {mappings or "nil"}, {sink} }},
  state = os.getenv "FILE_PATH_STATE",
  {extra}
}}
"""
