-- The bucket that this data directory owns a prefix of, once there is one.
CREATE TABLE bucket (
    only  INTEGER PRIMARY KEY CHECK (only = 1),
    url   TEXT NOT NULL,                   -- s3://bucket/prefix
    owner TEXT NOT NULL                    -- ULID, as in the prefix's monocle.json
) STRICT;

-- What is in the bucket of the blocks that were live at some time.
CREATE TABLE remote_blocks (
    id     TEXT PRIMARY KEY,               -- ULID
    signal TEXT NOT NULL,
    state  TEXT NOT NULL,                  -- uploading, verified, or obsolete: no longer live, to be removed
    meta   TEXT NOT NULL                   -- BlockMeta
) STRICT;
