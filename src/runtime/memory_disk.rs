//! A disk in memory that knows what a power loss would leave, after each of the operations it has seen.

use super::{Disk, ReadFile, WriteFile, occupied};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub enum Operation {
    CreateDir(PathBuf),
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Reserve(PathBuf, u64),
    Sync(PathBuf),
    SyncDir(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// What of the unsynced writes the power loss leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    Lost,
    /// Contents of files in part: the first half of what a file has beyond its durable contents. Names are lost.
    Torn,
    /// As [`Unsynced::Kept`], but what a file has beyond its durable contents is noise.
    Garbled,
    Kept,
}

/// Operations that do not succeed, by their numbers from the first one on that was tried.
#[derive(Debug, Clone)]
pub struct Fault {
    pub operations: Range<usize>,
    pub kind: io::ErrorKind,
    /// The first of them, if it is a write, comes through by half.
    pub torn: bool,
    /// What is below this path works all the same.
    pub except: Option<PathBuf>,
}

impl Operation {
    pub fn path(&self) -> &Path {
        match self {
            Operation::CreateDir(path)
            | Operation::Create(path)
            | Operation::Write(path, ..)
            | Operation::Reserve(path, _)
            | Operation::Sync(path)
            | Operation::SyncDir(path)
            | Operation::Rename(path, _)
            | Operation::Remove(path) => path,
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Entries {
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
}

#[derive(Debug, Clone)]
enum Node {
    Dir(Entries),
    File { live: Vec<u8>, durable: Vec<u8> },
}

#[derive(Debug, Clone)]
struct Tree(Vec<Node>);

fn names(path: &Path) -> Vec<String> {
    let name = |c: Component<'_>| matches!(c, Component::Normal(_)).then(|| c.as_os_str().to_string_lossy().into_owned());
    path.components().filter_map(name).collect()
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl Tree {
    fn find(&self, path: &Path) -> io::Result<usize> {
        names(path).iter().try_fold(0, |at, name| match &self.0[at] {
            Node::Dir(entries) => entries.live.get(name).copied().ok_or_else(|| missing(path)),
            Node::File { .. } => Err(missing(path)),
        })
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut Entries> {
        let at = self.find(path)?;
        match &mut self.0[at] {
            Node::Dir(entries) => Ok(entries),
            Node::File { .. } => Err(missing(path)),
        }
    }

    fn file(&mut self, path: &Path) -> io::Result<(&mut Vec<u8>, &mut Vec<u8>)> {
        let at = self.find(path)?;
        match &mut self.0[at] {
            Node::File { live, durable } => Ok((live, durable)),
            Node::Dir(_) => Err(missing(path)),
        }
    }

    fn link(&mut self, path: &Path, node: usize) -> io::Result<()> {
        let name = names(path).pop().ok_or_else(|| missing(path))?;
        self.dir(path.parent().unwrap_or(path))?.live.insert(name, node);
        Ok(())
    }

    fn unlink(&mut self, path: &Path) -> io::Result<usize> {
        let name = names(path).pop().ok_or_else(|| missing(path))?;
        self.dir(path.parent().unwrap_or(path))?.live.remove(&name).ok_or_else(|| missing(path))
    }

    fn apply(&mut self, operation: &Operation) -> io::Result<()> {
        match operation {
            Operation::CreateDir(path) => {
                for ancestor in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
                    if self.find(ancestor).is_err() {
                        self.0.push(Node::Dir(Entries::default()));
                        self.link(ancestor, self.0.len() - 1)?;
                    }
                }
            }
            Operation::Create(path) => {
                if self.find(path).is_ok() {
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, path.display().to_string()));
                }
                self.0.push(Node::File { live: Vec::new(), durable: Vec::new() });
                self.link(path, self.0.len() - 1)?;
            }
            Operation::Write(path, at, bytes) => {
                let (live, _) = self.file(path)?;
                let end = *at as usize + bytes.len();
                live.resize(live.len().max(end), 0);
                live[*at as usize..end].copy_from_slice(bytes);
            }
            Operation::Reserve(path, length) => self.file(path)?.0.resize(*length as usize, 0),
            Operation::Sync(path) => {
                let (live, durable) = self.file(path)?;
                durable.clone_from(live);
            }
            Operation::SyncDir(path) => {
                let entries = self.dir(path)?;
                entries.durable = entries.live.clone();
            }
            Operation::Rename(from, to) => {
                let node = self.unlink(from)?;
                self.link(to, node)?;
            }
            Operation::Remove(path) => {
                self.unlink(path)?;
            }
        }
        Ok(())
    }

    fn bytes(&self, node: usize) -> u64 {
        match &self.0[node] {
            Node::Dir(entries) => entries.live.values().map(|inside| self.bytes(*inside)).sum(),
            Node::File { live, .. } => occupied(live.len() as u64),
        }
    }

    fn after_loss(&self, unsynced: Unsynced) -> Tree {
        let survive = |node: &Node| match node {
            Node::Dir(entries) => {
                let kept = if matches!(unsynced, Unsynced::Kept | Unsynced::Garbled) { &entries.live } else { &entries.durable };
                Node::Dir(Entries { live: kept.clone(), durable: kept.clone() })
            }
            Node::File { live, durable } => {
                let kept = match unsynced {
                    Unsynced::Lost => durable.clone(),
                    Unsynced::Kept => live.clone(),
                    Unsynced::Garbled => {
                        let noise = |(at, byte): (usize, &u8)| if durable.get(at) == Some(byte) { *byte } else { byte ^ (at as u8 | 1) };
                        live.iter().enumerate().map(noise).collect()
                    }
                    Unsynced::Torn => {
                        let mut torn = durable.clone();
                        let differs = live.iter().zip(durable.iter()).position(|(a, b)| a != b).unwrap_or(durable.len().min(live.len()));
                        let until = differs + (live.len() - differs) / 2;
                        torn.resize(torn.len().max(until), 0);
                        torn[differs..until].copy_from_slice(&live[differs..until]);
                        torn
                    }
                };
                Node::File { live: kept.clone(), durable: kept }
            }
        };
        Tree(self.0.iter().map(survive).collect())
    }
}

struct State {
    start: Tree,
    now: Tree,
    operations: Vec<Operation>,
    tried: usize,
    fault: Option<Fault>,
}

#[derive(Clone)]
pub struct MemoryDisk(Arc<Mutex<State>>);

impl Default for MemoryDisk {
    fn default() -> MemoryDisk {
        MemoryDisk::from_tree(Tree(vec![Node::Dir(Entries::default())]))
    }
}

impl MemoryDisk {
    fn from_tree(tree: Tree) -> MemoryDisk {
        MemoryDisk(Arc::new(Mutex::new(State { start: tree.clone(), now: tree, operations: Vec::new(), tried: 0, fault: None })))
    }

    pub fn operations(&self) -> Vec<Operation> {
        self.0.lock().operations.clone()
    }

    /// The disk that a power loss after the first `count` operations leaves.
    pub fn lose_power(&self, count: usize, unsynced: Unsynced) -> MemoryDisk {
        let state = self.0.lock();
        let mut tree = state.start.clone();
        for operation in &state.operations[..count] {
            tree.apply(operation).expect("it succeeded the first time");
        }
        MemoryDisk::from_tree(tree.after_loss(unsynced))
    }

    /// From now on these fail; `None` ends that.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.0.lock().fault = fault;
    }

    /// Operations so far, those that failed too.
    pub fn tried(&self) -> usize {
        self.0.lock().tried
    }

    fn run(&self, mut operation: Operation) -> io::Result<()> {
        let mut state = self.0.lock();
        let number = state.tried;
        state.tried += 1;
        let fault = state.fault.clone().filter(|fault| fault.operations.contains(&number));
        let fault = fault.filter(|fault| fault.except.as_ref().is_none_or(|spared| !operation.path().starts_with(spared)));
        if let Some(fault) = &fault {
            match &mut operation {
                Operation::Write(_, _, bytes) if fault.torn && number == fault.operations.start => bytes.truncate(bytes.len() / 2),
                _ => return Err(fault.kind.into()),
            }
        }
        state.now.apply(&operation)?;
        if let Some(fault) = fault {
            state.operations.push(operation);
            return Err(fault.kind.into());
        }
        state.operations.push(operation);
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.run(Operation::Create(path.to_owned()))?;
        Ok(Box::new(Writer { disk: self.clone(), path: path.to_owned(), position: 0 }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        Ok(Arc::new(Reader(self.read(path)?)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.lock().now.file(path)?.0.clone())
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.run(Operation::Reserve(path.to_owned(), length))?;
        self.run(Operation::Sync(path.to_owned()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Operation::Rename(from.to_owned(), to.to_owned()))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::CreateDir(path.to_owned()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::SyncDir(path.to_owned()))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::Remove(path.to_owned()))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.run(Operation::Remove(path.to_owned()))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Ok(self.0.lock().now.dir(path).map(|entries| entries.live.keys().cloned().collect()).unwrap_or_default())
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.lock().now.find(path).is_ok()
    }

    fn bytes(&self, path: &Path) -> io::Result<u64> {
        let state = self.0.lock();
        Ok(state.now.find(path).map_or(0, |node| state.now.bytes(node)))
    }
}

struct Writer {
    disk: MemoryDisk,
    path: PathBuf,
    position: u64,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.run(Operation::Write(self.path.clone(), self.position, bytes.to_vec()))?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WriteFile for Writer {
    fn reserve(&mut self, length: u64) -> io::Result<()> {
        self.disk.run(Operation::Reserve(self.path.clone(), length))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.run(Operation::Sync(self.path.clone()))
    }
}

struct Reader(Vec<u8>);

impl ReadFile for Reader {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = self.0.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_synced_survives_and_a_name_needs_its_directory() {
        let disk = MemoryDisk::default();
        disk.create_dir_all(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let mut file = disk.create(Path::new("/d/a")).unwrap();
        file.write_all(b"one").unwrap();
        file.sync().unwrap();
        let unnamed = disk.operations().len();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_all(b"two!").unwrap();
        let all = disk.operations().len();
        assert!(!disk.lose_power(unnamed, Unsynced::Lost).exists(Path::new("/d/a")));
        assert_eq!(disk.lose_power(all, Unsynced::Lost).read(Path::new("/d/a")).unwrap(), b"one");
        assert_eq!(disk.lose_power(all, Unsynced::Torn).read(Path::new("/d/a")).unwrap(), b"onetw");
        assert_eq!(disk.lose_power(all, Unsynced::Kept).read(Path::new("/d/a")).unwrap(), b"onetwo!");
    }
}
