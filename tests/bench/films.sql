-- Films by the number, for measurements: the sample's shape, 6 people and 2.2 genres a film, the same rows each time.
--
--     createdb bench && psql -v films=300000 -q bench -f tests/bench/films.sql
--
-- Everything is computed from the row's number: no random(), so that two machines measure the same.
\if :{?films}
\else
\set films 10000
\endif
\set people (4 * :films / 10 + 100)

SET client_min_messages = warning;
DROP SCHEMA IF EXISTS content CASCADE;
CREATE SCHEMA content;
CREATE FUNCTION pg_temp.id(kind text, n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql AS
    $$ SELECT md5(kind || n)::uuid $$;
-- A well mixed number from 0 to max - 1.
CREATE FUNCTION pg_temp.mix(n bigint, salt int, max bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS
    $$ SELECT (hashint8extended(n, salt) & 9223372036854775807) % max $$;

CREATE TABLE content.film_work (
    created timestamptz NOT NULL, modified timestamptz NOT NULL, id uuid NOT NULL, title text NOT NULL,
    description text, creation_date timestamptz, rating double precision, type varchar(10) NOT NULL,
    file_path varchar(100) NOT NULL);
CREATE TABLE content.genre (
    created timestamptz NOT NULL, modified timestamptz NOT NULL, id uuid NOT NULL, name varchar(255) NOT NULL,
    description text);
CREATE TABLE content.person (
    created timestamptz NOT NULL, modified timestamptz NOT NULL, id uuid NOT NULL, full_name varchar(255) NOT NULL);
CREATE TABLE content.genre_film_work (
    id uuid NOT NULL, created timestamptz NOT NULL, modified timestamptz NOT NULL, film_work_id uuid NOT NULL,
    genre_id uuid NOT NULL);
CREATE TABLE content.person_film_work (
    id uuid NOT NULL, role varchar(20) NOT NULL, created timestamptz NOT NULL, modified timestamptz NOT NULL,
    film_work_id uuid NOT NULL, person_id uuid NOT NULL);

CREATE TEMP TABLE words AS
    SELECT string_to_array('silent winter river of glass the last harbour beyond northern light a stranger house broken'
        ' garden between two cities long road home shadow under bridge letters from island when birds return', ' ') AS w;

INSERT INTO content.film_work
SELECT t, t, pg_temp.id('film', n),
       initcap((SELECT string_agg(w[1 + pg_temp.mix(n, 10 + i, array_length(w, 1))], ' ')
                  FROM generate_series(1, 2 + pg_temp.mix(n, 1, 3)::int) i)) || ' ' || n,
       CASE WHEN pg_temp.mix(n, 2, 10) > 0 THEN
           (SELECT string_agg(w[1 + pg_temp.mix(n, 50 + i, array_length(w, 1))], ' ')
              FROM generate_series(1, 10 + pg_temp.mix(n, 3, 40)::int) i) END,
       CASE WHEN pg_temp.mix(n, 4, 3) > 0 THEN timestamptz '1950-01-01Z' + pg_temp.mix(n, 5, 27000) * interval '1 day' END,
       CASE WHEN pg_temp.mix(n, 6, 20) > 0 THEN (10 + pg_temp.mix(n, 7, 90)) / 10.0 END,
       CASE WHEN pg_temp.mix(n, 8, 5) > 0 THEN 'movie' ELSE 'tv_show' END, ''
  FROM words, generate_series(1, :films) n, LATERAL (SELECT timestamptz '2021-06-16 20:14:09Z' + n * interval '1 ms' AS t) x;

INSERT INTO content.genre
SELECT timestamptz '2021-06-16 20:14:09Z', timestamptz '2021-06-16 20:14:09Z', pg_temp.id('genre', n), 'Genre ' || n, NULL
  FROM generate_series(0, 25) n;

INSERT INTO content.person
SELECT timestamptz '2021-06-16 20:14:09Z', timestamptz '2021-06-16 20:14:09Z', pg_temp.id('person', n),
       initcap(w[1 + pg_temp.mix(n, 20, array_length(w, 1))] || ' ' || w[1 + pg_temp.mix(n, 21, array_length(w, 1))]) || ' ' || n
  FROM words, generate_series(0, :people - 1) n;

INSERT INTO content.genre_film_work
SELECT pg_temp.id('fg' || i || '-', n), t, t, pg_temp.id('film', n), pg_temp.id('genre', (pg_temp.mix(n, 30, 26) + 7 * i) % 26)
  FROM generate_series(1, :films) n, LATERAL (SELECT timestamptz '2021-06-16 20:14:09Z' + n * interval '1 ms' AS t) x,
       generate_series(1, pg_temp.mix(n, 31, 4)::int + (pg_temp.mix(n, 32, 10) < 7)::int) i;

-- 0 to 2 directors, 0 to 6 actors, 0 to 4 writers.
INSERT INTO content.person_film_work
SELECT pg_temp.id('fp' || role || i || '-', n), role, t, t, pg_temp.id('film', n),
       pg_temp.id('person', pg_temp.mix(n * 16 + i, salt, :people))
  FROM generate_series(1, :films) n, LATERAL (SELECT timestamptz '2021-06-16 20:14:09Z' + n * interval '1 ms' AS t) x,
       (VALUES ('director', 40, 3), ('actor', 41, 7), ('writer', 42, 5)) roles(role, salt, most),
       generate_series(1, pg_temp.mix(n, salt, most)::int) i;

ALTER TABLE content.film_work ADD PRIMARY KEY (id);
ALTER TABLE content.genre ADD PRIMARY KEY (id);
ALTER TABLE content.person ADD PRIMARY KEY (id);
ALTER TABLE content.genre_film_work ADD PRIMARY KEY (id);
ALTER TABLE content.person_film_work ADD PRIMARY KEY (id);
ALTER TABLE content.genre_film_work
    ADD FOREIGN KEY (film_work_id) REFERENCES content.film_work ON DELETE CASCADE,
    ADD FOREIGN KEY (genre_id) REFERENCES content.genre ON DELETE CASCADE;
ALTER TABLE content.person_film_work
    ADD FOREIGN KEY (film_work_id) REFERENCES content.film_work ON DELETE CASCADE,
    ADD FOREIGN KEY (person_id) REFERENCES content.person ON DELETE CASCADE;
CREATE INDEX ON content.film_work (modified, id); -- for each table that is followed, as scripts/movies.sql has them
CREATE INDEX ON content.genre (modified, id);
CREATE INDEX ON content.person (modified, id);
CREATE INDEX ON content.genre_film_work (modified, id);
CREATE INDEX ON content.person_film_work (modified, id);
CREATE INDEX ON content.genre_film_work (film_work_id);
CREATE INDEX ON content.genre_film_work (genre_id);
CREATE INDEX ON content.person_film_work (film_work_id);
CREATE INDEX ON content.person_film_work (person_id);
VACUUM ANALYZE content.film_work, content.genre, content.person, content.genre_film_work, content.person_film_work;
