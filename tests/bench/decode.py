"""The part `decode`: how fast the write-ahead log becomes keys in a journal (wal_decode.c), with nobody to deliver them.

The rows are of a narrow table, half of them inserted and half of them updated, in transactions of 10,000.
"""
import glob
import json
import os
import subprocess
import time

import psycopg2

from basis import FILMS, OUT, RUNS, make_copy, say

SETUP = """
CREATE TABLE narrow (id int PRIMARY KEY, n int NOT NULL);
CREATE PUBLICATION wal_decode FOR TABLE narrow;
SELECT pg_create_logical_replication_slot('wal_decode_start', 'pgoutput');
"""


def write_log(cursor, rows):
    """The position at which the log has all of them."""
    for statement in filter(str.strip, SETUP.split(";")):
        cursor.execute(statement)
    for first in range(1, rows + 1, 10000):
        part_of = (first, min(first + 9999, rows))
        cursor.execute("INSERT INTO narrow SELECT i, 0 FROM generate_series(%s, %s) i", part_of)
        cursor.execute("UPDATE narrow SET n = 1 WHERE id BETWEEN %s AND %s", part_of)
    cursor.execute("SELECT pg_current_wal_flush_lsn()::text")
    return cursor.fetchone()[0]


def is_active(cursor):
    cursor.execute("SELECT active FROM pg_replication_slots WHERE slot_name = 'wal_decode'")
    return cursor.fetchone()[0]


def decode(cursor, url, end):
    """One run, from the same place in the log."""
    journal = os.path.join(OUT, "decode.journal")
    for path in glob.glob(journal + "*"):
        os.unlink(path)
    cursor.execute("SELECT pg_copy_logical_replication_slot('wal_decode_start', 'wal_decode')")
    words = [os.path.join(OUT, "wal_decode"), "wal_decode", "public", "narrow", "id", end, journal]
    env = {**os.environ, "DATABASE_URL": url}
    done = subprocess.run(words, check=True, env=env, stdout=subprocess.PIPE)
    while is_active(cursor):  # the process has ended, and its connection perhaps not yet
        time.sleep(0.01)
    cursor.execute("SELECT pg_drop_replication_slot('wal_decode')")
    return json.loads(done.stdout)


def part():
    say("decode")
    url, rows = make_copy(), FILMS * 10
    session = psycopg2.connect(url)
    session.autocommit = True
    with session.cursor() as cursor:
        end = write_log(cursor, rows)
        runs = [decode(cursor, url, end) for _ in range(RUNS)]
    session.close()
    assert all(run["keys"] == 2 * rows for run in runs), runs
    return {"rows": 2 * rows, "runs": runs}
