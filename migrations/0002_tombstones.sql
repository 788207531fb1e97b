-- Deletes that were asked for: blocks still hold the rows while the state is `active`.
CREATE TABLE tombstones (
    id     TEXT PRIMARY KEY,               -- ULID, later than the ids of all blocks with rows that it hits
    tenant TEXT NOT NULL,
    signal TEXT NOT NULL,
    state  TEXT NOT NULL,                  -- active or processed
    record TEXT NOT NULL                   -- Tombstone, as in tombstones/<tenant>/<id>.json
) STRICT;
