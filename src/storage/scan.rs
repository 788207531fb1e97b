use std::ops::Range;

/// What a query may ask of one table of a block: the parts of it to read, and rows that need not be returned.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Top-level columns to read, in any order; names the block does not have are skipped. `None` reads all.
    pub columns: Option<Vec<String>>,
    /// Half-open row ranges of the table, ascending and disjoint. `None` reads all.
    pub rows: Option<Vec<Range<u64>>>,
    /// All must hold. A predicate on a column that the block does not have holds for every row, because the value may
    /// be in the rest map: callers test again what they need exactly.
    pub predicates: Vec<Predicate>,
    /// Rows a batch at most; 0 for 8,192.
    pub batch_rows: usize,
    /// Top-level columns of text come as dictionaries with 32-bit keys, whose values are those of the file's pages: what is
    /// asked of a text is then asked once a value, not once a row.
    pub dictionaries: bool,
}

impl Scan {
    pub fn columns<I: IntoIterator<Item = N>, N: Into<String>>(names: I) -> Scan {
        Scan { columns: Some(names.into_iter().map(Into::into).collect()), ..Scan::default() }
    }

    pub fn rows(mut self, ranges: Vec<Range<u64>>) -> Scan {
        self.rows = Some(ranges);
        self
    }

    pub fn with(mut self, predicate: Predicate) -> Scan {
        self.predicates.push(predicate);
        self
    }
}

/// A test of one column by which row groups, pages and rows are skipped. Null satisfies none.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// `min <= column <= max`, for 64-bit integers and timestamps (in the column's own unit).
    Between { column: String, min: i64, max: i64 },
    /// The column equals one of the values.
    OneOf { column: String, values: Vec<Value> },
}

impl Predicate {
    pub fn column(&self) -> &str {
        match self {
            Predicate::Between { column, .. } | Predicate::OneOf { column, .. } => column,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Int(i64),
    Text(String),
    /// Fixed-size binary.
    Bytes(Vec<u8>),
}
