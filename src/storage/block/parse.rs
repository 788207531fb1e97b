//! Facts of a block from outside: a bucket, or files that somebody else may have written.

use super::{BlockMeta, CHUNK_BYTES};
use crate::model::time::DAY;

/// Tables that one block may claim to have.
const TABLES_MAX: usize = 16;
const TABLE_NAME_MAX_BYTES: usize = 32;

impl BlockMeta {
    /// Reads a `meta.json`, and believes nothing that paths, sums or sizes are made of.
    pub fn parse(bytes: &[u8]) -> Result<BlockMeta, String> {
        let meta: BlockMeta = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if meta.format > BlockMeta::FORMAT {
            return Err(format!("format {} is newer than this program, which reads up to {}", meta.format, BlockMeta::FORMAT));
        }
        if meta.min_time > meta.max_time {
            return Err("its oldest row is newer than its newest".into());
        }
        if !(i64::MIN / DAY..=i64::MAX / DAY).contains(&meta.day) {
            return Err(format!("there is no day {}", meta.day));
        }
        if meta.tables.len() > TABLES_MAX {
            return Err(format!("{} tables are too many", meta.tables.len()));
        }
        let mut total = 0u64;
        for (at, table) in meta.tables.iter().enumerate() {
            let is_name = |b: u8| b.is_ascii_lowercase() || b == b'_';
            if table.name.is_empty() || table.name.len() > TABLE_NAME_MAX_BYTES || !table.name.bytes().all(is_name) {
                return Err(format!("{:?} is not the name of a table", table.name));
            }
            if meta.tables[..at].iter().any(|other| other.name == table.name) {
                return Err(format!("table {} is there twice", table.name));
            }
            if table.sha256.len() != 64 || !table.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(format!("table {} has no SHA-256", table.name));
            }
            if !table.chunks.is_empty() && table.chunks.len() as u64 != table.bytes.div_ceil(CHUNK_BYTES as u64) {
                return Err(format!("table {} has {} checksums for {} bytes", table.name, table.chunks.len(), table.bytes));
            }
            total = total.checked_add(table.bytes).filter(|t| i64::try_from(*t).is_ok()).ok_or("it is larger than any disk")?;
        }
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = r#"{"format":1,"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","tenant":"a","signal":"logs","level":0,"day":3,"min_time":5,
        "max_time":6,"items":1,"wal":{"from":1,"to":2},"created_at":9,"later":"additions are fine","tables":[{"name":"logs","rows":1,
        "bytes":9,"sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","chunks":"0000000f"}]}"#;

    #[test]
    fn good_facts_are_read_and_bad_ones_are_not_believed() {
        let meta = BlockMeta::parse(GOOD.as_bytes()).unwrap();
        assert_eq!((meta.tables[0].chunks.as_slice(), meta.items), (&[15][..], 1));
        for (good, bad) in [
            (r#""format":1"#, r#""format":2"#),
            (r#""min_time":5"#, r#""min_time":7"#),
            (r#""day":3"#, r#""day":9223372036854775807"#),
            (r#""name":"logs""#, r#""name":"../../logs""#),
            (r#""tenant":"a""#, r#""tenant":"..""#),
            (r#""bytes":9"#, r#""bytes":9000000"#),
            (r#""bytes":9"#, r#""bytes":18446744073709551615"#),
            (r#""0000000f""#, r#""000000f""#),
            (r#""sha256":"aa"#, r#""sha256":"/a"#),
        ] {
            assert!(GOOD.contains(good));
            assert!(BlockMeta::parse(GOOD.replace(good, bad).as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>, at in 0..GOOD.len(), with: u8) {
            let _ = BlockMeta::parse(&bytes);
            let mut changed = GOOD.as_bytes().to_vec();
            changed[at] = with;
            if let Ok(meta) = BlockMeta::parse(&changed) {
                let _ = crate::storage::layout::Layout::remote_block(&meta);
            }
        }
    }
}
