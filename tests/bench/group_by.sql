      -- The same films, in the other usual form: all tables joined, then grouped. Lists of people come in another order.
      SELECT fw.id, fw.title, fw.description, fw.rating, fw.type, fw.creation_date, fw.modified,
             coalesce(array_agg(DISTINCT g.name) FILTER (WHERE g.id IS NOT NULL), '{}') AS genres,
             coalesce(json_agg(DISTINCT p.person) FILTER (WHERE p.role = 'director'), '[]') AS directors,
             coalesce(json_agg(DISTINCT p.person) FILTER (WHERE p.role = 'actor'),    '[]') AS actors,
             coalesce(json_agg(DISTINCT p.person) FILTER (WHERE p.role = 'writer'),   '[]') AS writers,
             coalesce(array_agg(DISTINCT p.name) FILTER (WHERE p.role = 'director'), '{}') AS directors_names,
             coalesce(array_agg(DISTINCT p.name) FILTER (WHERE p.role = 'actor'),    '{}') AS actors_names,
             coalesce(array_agg(DISTINCT p.name) FILTER (WHERE p.role = 'writer'),   '{}') AS writers_names
        FROM content.film_work fw
        LEFT JOIN content.genre_film_work gfw ON gfw.film_work_id = fw.id
        LEFT JOIN content.genre g ON g.id = gfw.genre_id
        LEFT JOIN (SELECT pfw.film_work_id, pfw.role, p.full_name AS name,
                          jsonb_build_object('id', p.id, 'name', p.full_name) AS person
                     FROM content.person_film_work pfw JOIN content.person p ON p.id = pfw.person_id) p
               ON p.film_work_id = fw.id
       GROUP BY fw.id
