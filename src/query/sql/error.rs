//! What goes wrong with a statement, in words for who wrote it.

use crate::query::QueryError;
use datafusion::error::DataFusionError;

/// A statement that is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// A mistake in the text, with line and column, both from 1, where it is known.
    #[error("{message}")]
    Statement { message: String, position: Option<(u64, u64)> },
    /// Anything but a read: the statement's first word.
    #[error("{0} is not allowed: SQL here only reads (SELECT, WITH, VALUES, EXPLAIN, SHOW TABLES, DESCRIBE)")]
    NotARead(String),
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl SqlError {
    pub(super) fn statement(message: String, position: Option<(u64, u64)>) -> SqlError {
        SqlError::Statement { message, position }
    }

    /// Of what was found out before anything was read.
    pub(super) fn planning(error: &DataFusionError) -> SqlError {
        if let Some(error) = ours(error) {
            return SqlError::Query(error);
        }
        let position = position(error);
        SqlError::statement(told(error), position)
    }

    /// Of what was found out while rows went through.
    pub(super) fn running(error: &DataFusionError) -> SqlError {
        let internal = || {
            tracing::error!(%error, "a SQL query failed");
            QueryError::Storage("query failed: internal error".into())
        };
        SqlError::Query(ours(error).unwrap_or_else(|| match error.find_root() {
            // An operator that could not spill says so, which nobody can change.
            DataFusionError::ResourcesExhausted(message) if message.contains("DiskManager") => {
                let advice = "query needs more memory than it may use; narrow the time range, or sort and join fewer rows";
                QueryError::TooMuch(advice.into())
            }
            DataFusionError::ResourcesExhausted(message) => QueryError::TooMuch(message.clone()),
            DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => internal(),
            _ => QueryError::Execution(told(error)),
        }))
    }
}

/// The failure of a scan, however deep it is wrapped.
fn ours(error: &DataFusionError) -> Option<QueryError> {
    match error.find_root() {
        DataFusionError::External(error) => error.downcast_ref::<QueryError>().cloned(),
        _ => None,
    }
}

/// Without advice about files on disk, which are not used, and without the names of the planner's parts.
fn told(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        DataFusionError::Internal(_) => "this cannot be planned".to_owned(),
        root => root.strip_backtrace(),
    };
    let known = [
        "SQL error: ParserError(",
        "Error during planning: ",
        "Schema error: ",
        "Execution error: ",
        "Arrow error: ",
        "This feature is not implemented: ",
    ];
    let text = known.iter().fold(text.as_str(), |text, prefix| text.strip_prefix(prefix).unwrap_or(text));
    text.trim_end_matches(')').trim_matches('"').to_owned()
}

/// Line and column, both from 1.
fn position(error: &DataFusionError) -> Option<(u64, u64)> {
    if let Some(start) = error.diagnostic().and_then(|d| d.span).map(|span| span.start).filter(|start| start.line > 0) {
        return Some((start.line, start.column));
    }
    // The parser's errors have it in their text alone.
    let text = error.to_string();
    let (_, place) = text.rsplit_once("at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    Some((digits(line)?, digits(column)?))
}
