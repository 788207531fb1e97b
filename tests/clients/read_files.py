"""Counts the rows of monocle's Parquet files with three foreign readers, each of which decodes every column.

    read_files.py DATA        prints {"duckdb": {"spans": N, ...}, "pyarrow": ..., "polars": ...}
"""
import glob
import json
import sys

import duckdb
import polars
import pyarrow.parquet

TABLES = {"spans": "traces", "logs": "logs", "samples": "metrics", "hist": "metrics"}


def by_duckdb(files):
    # The hash makes it read what it counts.
    sql = "select count(*), bit_xor(hash(t)) from read_parquet(?, union_by_name = true) t"
    return duckdb.execute(sql, [files]).fetchone()[0]


def by_pyarrow(files):
    return sum(pyarrow.parquet.read_table(file, partitioning=None).num_rows for file in files)


def by_polars(files):
    return sum(polars.read_parquet(file).height for file in files)


counts = {}
for name, count in (("duckdb", by_duckdb), ("pyarrow", by_pyarrow), ("polars", by_polars)):
    counts[name] = {}
    for table, signal in TABLES.items():
        files = sorted(glob.glob(f"{sys.argv[1]}/blocks/*/{signal}/*/*/*/*/{table}.parquet"))
        counts[name][table] = count(files) if files else 0
print(json.dumps(counts))
