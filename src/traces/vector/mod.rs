//! Conditions on the rows of a block, column by column: what is asked of a text is asked once for each distinct one, columns
//! are read only while rows are left that they could exclude, and no span is put together. Only traces that lie whole in
//! the block are judged so; of the others it is only asked whether they may matter.

mod attached;
mod check;
mod column;
mod cond;
mod facts;
mod row;
mod rows;
mod selection;

pub use column::Codes;
pub use facts::Facts;
pub use rows::{Rows, segments};
pub use selection::Selection;
