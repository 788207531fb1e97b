-- The catalog: which blocks exist, up to where each lane of the WAL is covered by blocks, and the numbers of columns.

CREATE TABLE blocks (
    id       TEXT    PRIMARY KEY,          -- ULID
    tenant   TEXT    NOT NULL,
    signal   TEXT    NOT NULL,             -- metrics, logs or traces
    level    INTEGER NOT NULL,
    min_time INTEGER NOT NULL,             -- nanoseconds since the epoch, inclusive
    max_time INTEGER NOT NULL,             -- inclusive
    bytes    INTEGER NOT NULL,
    meta     TEXT    NOT NULL              -- BlockMeta, as in meta.json
) STRICT;

-- Replay starts at this LSN; frames before it are in blocks.
CREATE TABLE wal_floors (
    signal TEXT    PRIMARY KEY,
    lsn    INTEGER NOT NULL
) STRICT;

-- Field ids of columns that blocks choose for themselves, from 1000; never reused.
CREATE TABLE columns (
    field_id INTEGER PRIMARY KEY,
    signal   TEXT NOT NULL,
    path     TEXT NOT NULL,                -- table/column[/child]
    UNIQUE (signal, path)
) STRICT;
