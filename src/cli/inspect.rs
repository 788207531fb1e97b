//! What lies in a data directory, for people.

use crate::config::Config;
use crate::model::Signal;
use crate::runtime::World;
use crate::storage::block::{BlockId, BlockMeta, describe};
use crate::storage::catalog::Catalog;
use crate::storage::layout::Layout;
use crate::storage::maintenance::find_blocks;
use crate::storage::wal::{Found, scan, segments};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// UTC, to the millisecond.
fn time(nanos: i64) -> String {
    let time = chrono::DateTime::from_timestamp_nanos(nanos);
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A block by its directory or by its id: its facts, and tables with their columns.
pub(super) fn block(config: &Config, which: &str) -> Result<String, String> {
    let world = World::real();
    let home = match BlockId::parse(which) {
        Some(id) => {
            let found = find_blocks(&world, &Layout::new(&config.data)).map_err(|e| e.to_string())?;
            found.into_iter().find(|(found, _)| *found == id).map(|(_, home)| home).ok_or_else(|| format!("no block {id} here"))?
        }
        None => PathBuf::from(which),
    };
    let bytes = world.disk.read(&home.join(Layout::META)).map_err(|e| e.to_string())?;
    let meta = BlockMeta::parse(&bytes).map_err(|e| format!("{}: {e}", home.join(Layout::META).display()))?;
    let mut out = facts(&meta).map_err(|e| e.to_string())?;
    for table in &meta.tables {
        let path = home.join(Layout::table_file(&table.name));
        let file = world.disk.open(&path).map_err(|e| e.to_string())?;
        let footer = describe(&table.name, file, table.bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        table_lines(&mut out, table, &footer).map_err(|e| e.to_string())?;
    }
    Ok(out)
}

fn facts(meta: &BlockMeta) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "block {} (format {})", meta.id, meta.format)?;
    writeln!(out, "  tenant {}, {}, level {}{}", meta.tenant, meta.signal, meta.level, if meta.mixed { ", mixed days" } else { "" })?;
    writeln!(out, "  {} items from {} to {}", meta.items, time(meta.min_time), time(meta.max_time))?;
    writeln!(
        out,
        "  {} bytes, {:.1} an item, made {}",
        meta.bytes(),
        meta.bytes() as f64 / meta.items.max(1) as f64,
        time(meta.created_at)
    )?;
    if let Some(wal) = meta.wal {
        writeln!(out, "  frames {} to {}", wal.from, wal.to.saturating_sub(1))?;
    }
    for parent in &meta.parents {
        writeln!(out, "  made of {parent}")?;
    }
    Ok(out)
}

fn table_lines(
    out: &mut String,
    table: &crate::storage::block::TableMeta,
    footer: &crate::storage::block::Description,
) -> std::fmt::Result {
    writeln!(out, "\n{}.parquet: {} rows in {} row groups, {} bytes", table.name, footer.rows, footer.row_groups, table.bytes)?;
    writeln!(out, "  {:<40} {:>8} {:<22} {:>12} {:>12} {:>7}  bloom", "column", "id", "type", "bytes", "plain", "a row")?;
    for column in &footer.columns {
        let top = column.path.split('/').next().unwrap_or_default();
        let id = footer.field_ids.get(&format!("{}/{top}", table.name)).map_or_else(String::new, ToString::to_string);
        let a_row = column.compressed as f64 / footer.rows.max(1) as f64;
        let bloom = if column.has_bloom_filter { "yes" } else { "" };
        let (path, kind) = (&column.path, &column.physical_type);
        writeln!(out, "  {path:<40} {id:>8} {kind:<22} {:>12} {:>12} {a_row:>7.2}  {bloom}", column.compressed, column.uncompressed)?;
    }
    Ok(())
}

/// All lanes, a line a segment; or with the path of a segment a line a frame.
pub(super) fn wal(config: &Config, segment: Option<&str>) -> Result<String, String> {
    let (world, layout) = (World::real(), Layout::new(&config.data));
    let mut out = String::new();
    if let Some(path) = segment {
        let path = Path::new(path);
        let first = path.file_name().and_then(|name| Layout::segment_first(name.to_str()?));
        let first = first.ok_or_else(|| format!("{} is not named as a segment is", path.display()))?;
        frames(&world, path, first, &mut out).map_err(|e| e.to_string())?;
        return Ok(out);
    }
    for signal in Signal::ALL {
        for first in segments(&world, &layout, signal).map_err(|e| e.to_string())? {
            let path = layout.segment(signal, first);
            let line = segment_line(&world, &path, first).map_err(|e| e.to_string())?;
            writeln!(out, "{}  {line}", path.display()).map_err(|e| e.to_string())?;
        }
    }
    if out.is_empty() {
        out.push_str("the write-ahead log is empty\n");
    }
    Ok(out)
}

fn segment_line(world: &World, path: &Path, first: u64) -> std::io::Result<String> {
    let (mut frames, mut body, mut last, mut newest, mut bad) = (0u64, 0u64, first, None, Vec::new());
    let length = scan(world, path, first, |found| match found {
        Found::Frame(_, frame) => {
            frames += 1;
            body += frame.body.len() as u64;
            last = frame.lsn;
            newest = Some(frame.received_at);
        }
        Found::Foreign => bad.push("not a segment".to_owned()),
        Found::Damaged(from, to) => bad.push(format!("bytes {from} to {to} damaged")),
        Found::Unreadable(at) => bad.push(format!("unreadable from byte {at}")),
    })?;
    let until = newest.map_or_else(String::new, |at| format!(", the last came {}", time(at)));
    let bad = if bad.is_empty() { String::new() } else { format!("; {}", bad.join(", ")) };
    Ok(format!("{frames} frames (LSN {first} to {last}), {body} bytes of requests in {length}{until}{bad}"))
}

fn frames(world: &World, path: &Path, first: u64, out: &mut String) -> std::io::Result<()> {
    scan(world, path, first, |found| {
        let line = match found {
            Found::Frame(at, frame) => format!(
                "byte {at}: LSN {}, {}, tenant {}, kind {}, encoding {}, {} bytes, {} items refused",
                frame.lsn,
                time(frame.received_at),
                frame.tenant,
                frame.kind,
                frame.encoding,
                frame.body.len(),
                frame.refused.len()
            ),
            Found::Foreign => "it does not begin as a segment does".to_owned(),
            Found::Damaged(from, to) => format!("byte {from} to {to}: checksum is wrong"),
            Found::Unreadable(at) => format!("byte {at}: nothing can be read from here on"),
        };
        out.push_str(&line);
        out.push('\n');
    })?;
    Ok(())
}

/// What the catalog lists.
pub(super) fn catalog(config: &Config) -> Result<String, String> {
    let (world, layout) = (World::real(), Layout::new(&config.data));
    if !world.disk.exists(&layout.catalog()) {
        return Err(format!("{} does not exist", layout.catalog().display()));
    }
    let catalog = Catalog::open(&world, &layout).map_err(|e| e.to_string())?;
    let mut out = String::new();
    match catalog.binding().map_err(|e| e.to_string())? {
        Some(bound) => out.push_str(&format!("bucket {} as {}\n", bound.url, bound.owner)),
        None => out.push_str("no bucket\n"),
    }
    for signal in Signal::ALL {
        signal_lines(&world, &layout, &catalog, signal, &mut out)?;
    }
    Ok(out)
}

fn signal_lines(world: &World, layout: &Layout, catalog: &Catalog, signal: Signal, out: &mut String) -> Result<(), String> {
    let failed = |e: &dyn std::fmt::Display| e.to_string();
    let blocks = catalog.blocks(signal).map_err(|e| failed(&e))?;
    let remote = catalog.remote_blocks(signal).map_err(|e| failed(&e))?;
    let (floor, columns) = (catalog.floor(signal).map_err(|e| failed(&e))?, catalog.columns(signal).map_err(|e| failed(&e))?.len());
    let (items, bytes) = blocks.iter().fold((0, 0), |(items, bytes), meta| (items + meta.items, bytes + meta.bytes()));
    let gone = remote.iter().filter(|(meta, _)| !blocks.iter().any(|block| block.id == meta.id)).count();
    out.push_str(&format!(
        "\n{signal}: {} blocks, {items} items, {bytes} bytes, {columns} columns of their own; replay from LSN {floor}; {gone} obsolete in the bucket\n",
        blocks.len()
    ));
    for (tombstone, state) in catalog.tombstones(signal).map_err(|e| failed(&e))? {
        out.push_str(&format!("  delete {} of {} {} ({})\n", tombstone.id, tombstone.tenant, tombstone.selector, state.as_str()));
    }
    for meta in &blocks {
        let state = remote.iter().find(|(known, _)| known.id == meta.id).map(|(_, state)| state.as_str());
        let place = match (world.disk.exists(&layout.block(meta)), state) {
            (true, None) => "here".to_owned(),
            (true, Some(state)) => format!("here, bucket: {state}"),
            (false, Some(state)) => format!("bucket: {state}"),
            (false, None) => "missing".to_owned(),
        };
        out.push_str(&format!(
            "  {} level {} {} .. {} {:>10} items {:>12} bytes  {}  {place}\n",
            meta.id,
            meta.level,
            time(meta.min_time),
            time(meta.max_time),
            meta.items,
            meta.bytes(),
            meta.tenant
        ));
    }
    Ok(())
}
