//! Opens a block's file wherever it is. Today every file is local; a bucket with a bounded cache joins here.

use super::block::BlockMeta;
use super::layout::Layout;
use crate::runtime::{ReadFile, World};
use std::io;
use std::sync::Arc;

#[derive(Clone)]
pub struct Tier {
    world: World,
    layout: Layout,
}

impl Tier {
    pub fn new(world: World, layout: Layout) -> Tier {
        Tier { world, layout }
    }

    pub fn open(&self, meta: &BlockMeta, table: &str) -> io::Result<Arc<dyn ReadFile>> {
        self.world.disk.open(&self.layout.block(meta).join(Layout::table_file(table)))
    }

    /// Removes the block's files. Called when neither the catalog nor any View knows the block any more.
    pub fn remove(&self, meta: &BlockMeta) -> io::Result<()> {
        self.world.disk.remove_dir_all(&self.layout.block(meta))
    }
}
