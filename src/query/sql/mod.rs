//! SQL over what the rooms have: DataFusion plans and runs it, rooms give the rows (`table`), and a query has the same budgets
//! as any other. Nothing of it is made before the first question.

mod encode;
mod engine;
mod error;
mod fields;
mod memory;
mod provider;
mod pushdown;
mod statement;
mod table;

pub use encode::Format;
pub use engine::{Chunk, Parameters, Question, Sql};
pub use error::SqlError;
pub use table::{Cell, ColumnType, Family, Output, Reader, Request, TableSpec, Tables};
