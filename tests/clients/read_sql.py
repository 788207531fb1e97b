"""Reads answers of monocle's /sql in the forms that foreign programs take.

    read_sql.py URL        prints {"arrow": {"spans": N, ...}, "polars": ..., "duckdb": ...}, the rows that each decoded
"""
import io
import json
import sys
import tempfile
import urllib.request

import duckdb
import polars
import pyarrow.ipc

TABLES = ["spans", "logs", "metrics", "exemplars", "events", "links", "traces"]


def ask(table, accept):
    headers = {"Accept": accept, "Content-Type": "application/sql"}
    request = urllib.request.Request(sys.argv[1] + "/sql", data=f"select * from {table}".encode(), headers=headers)
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def by_arrow(table):
    batches = pyarrow.ipc.open_stream(ask(table, "application/vnd.apache.arrow.stream")).read_all()
    batches.validate(full=True)
    return batches.num_rows


def by_polars(table):
    return polars.read_csv(io.BytesIO(ask(table, "text/csv")), infer_schema=False).height


def by_duckdb(table):
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(ask(table, "text/csv"))
        file.flush()
        sql = "select count(*), bit_xor(hash(t)) from read_csv(?, all_varchar = true, header = true, delim = ',', quote = '\"', escape = '\"') t"
        return duckdb.execute(sql, [file.name]).fetchone()[0]


readers = {"arrow": by_arrow, "polars": by_polars, "duckdb": by_duckdb}
print(json.dumps({name: {table: read(table) for table in TABLES} for name, read in readers.items()}))
