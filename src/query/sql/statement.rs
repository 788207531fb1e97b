//! A statement's text: bounded, one read, and the columns that it names.

use super::error::SqlError;
use super::table::Family;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Of a statement.
const TEXT_MAX_BYTES: usize = 256 << 10;

/// Keywords and symbols of a statement, commas and dots not counted. Each may be one more level of an expression, and the
/// planner goes down them by recursion.
const WORDS_MAX: usize = 2_000;

/// Parentheses and subqueries within each other.
const NESTING_MAX: usize = 50;

pub(super) struct Parsed {
    pub statement: Statement,
    /// Names of columns that belong to a family, each once, in the order in which they are met.
    pub names: Vec<String>,
}

pub(super) fn parse(text: &str, families: &[Family]) -> Result<Parsed, SqlError> {
    if text.len() > TEXT_MAX_BYTES {
        return Err(SqlError::statement(format!("the statement has more than {TEXT_MAX_BYTES} bytes"), None));
    }
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize().map_err(|e| {
        let position = (e.location.line > 0).then_some((e.location.line, e.location.column));
        SqlError::statement(e.message, position)
    })?;
    let tokens: Vec<Token> = tokens.into_iter().filter(|t| !matches!(t, Token::Whitespace(_))).collect();
    if tokens.iter().filter(|t| may_nest(t)).count() > WORDS_MAX {
        return Err(SqlError::statement(format!("the statement has more than {WORDS_MAX} operators and keywords"), None));
    }
    let parser = DFParserBuilder::new(text).with_dialect(&dialect).with_recursion_limit(NESTING_MAX).build();
    let mut statements = parser.and_then(|mut parser| parser.parse_statements()).map_err(|e| SqlError::planning(&e))?;
    let (Some(statement), None) = (statements.pop_front(), statements.pop_front()) else {
        return Err(SqlError::statement("a request has one statement".into(), None));
    };
    if let Some(word) = refused(&statement) {
        return Err(SqlError::NotARead(word));
    }
    Ok(Parsed { statement, names: names(&tokens, families) })
}

fn may_nest(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.quote_style.is_none() && word.keyword != Keyword::NoKeyword,
        Token::Comma | Token::Period | Token::SemiColon | Token::EOF | Token::Number(..) | Token::SingleQuotedString(_) => false,
        _ => true,
    }
}

/// The first word of a statement that is no read.
fn refused(statement: &Statement) -> Option<String> {
    match statement {
        Statement::Explain(explain) => refused(&explain.statement),
        Statement::Statement(statement) => match &**statement {
            ast::Statement::Query(_)
            | ast::Statement::ShowTables { .. }
            | ast::Statement::ShowColumns { .. }
            | ast::Statement::ShowFunctions { .. }
            | ast::Statement::ExplainTable { .. } => None,
            other => Some(first_word(&other.to_string())),
        },
        other => Some(first_word(&other.to_string())),
    }
}

fn first_word(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).unwrap_or("this").to_uppercase()
}

/// `"span.http.route"`, and `attributes['http.route']`, which means the same.
fn names(tokens: &[Token], families: &[Family]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: String| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    for (at, token) in tokens.iter().enumerate() {
        let Token::Word(word) = token else { continue };
        if word.quote_style.is_some() && families.iter().any(|family| family.parse(&word.value).is_some()) {
            add(word.value.clone());
        }
        if let (Some(Token::LBracket), Some(Token::SingleQuotedString(key))) = (tokens.get(at + 1), tokens.get(at + 2)) {
            let of_map = families.iter().filter(|family| word.value.eq_ignore_ascii_case(family.map));
            of_map.for_each(|family| add(format!("{}{key}", family.prefix)));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAMILIES: &[Family] = &[
        Family { map: "attributes", prefix: "span.", is_typed: true },
        Family { map: "attributes", prefix: "event.", is_typed: true },
        Family { map: "labels", prefix: "label.", is_typed: false },
    ];

    #[test]
    fn columns_of_families_are_named_in_two_ways() {
        let parsed = parse(r#"select "span.a.b", attributes['c d'], l.LABELS['x'], "other.y", 'span.z' from t"#, FAMILIES).unwrap();
        assert_eq!(parsed.names, ["span.a.b", "span.c d", "event.c d", "label.x"]);
    }

    #[test]
    fn only_one_read_is_taken() {
        let refuse = |text: &str| match parse(text, FAMILIES) {
            Err(SqlError::NotARead(word)) => word,
            other => panic!("{text}: {:?}", other.map(|p| p.names)),
        };
        for (text, word) in [
            ("create table t (a int)", "CREATE"),
            ("create external table t stored as csv location '/etc/passwd'", "CREATE"),
            ("create view v as select 1", "CREATE"),
            ("drop table logs", "DROP"),
            ("insert into logs values (1)", "INSERT"),
            ("update logs set line = ''", "UPDATE"),
            ("delete from logs", "DELETE"),
            ("copy logs to 'x.csv'", "COPY"),
            ("copy (select 1) to '/tmp/x' stored as csv", "COPY"),
            ("set datafusion.execution.batch_size = 1", "SET"),
            ("truncate table logs", "TRUNCATE"),
            ("alter table logs add column a int", "ALTER"),
            ("explain insert into logs values (1)", "INSERT"),
            ("begin", "BEGIN"),
            ("prepare p as select 1", "PREPARE"),
            ("execute p", "EXECUTE"),
            ("grant select on logs to x", "GRANT"),
            ("show all", "SHOW"),
        ] {
            assert_eq!(refuse(text), word, "{text}");
        }
        for text in ["select 1", "with a as (select 1) select * from a;", "explain select 1", "show tables", "describe logs", "values (1)"]
        {
            assert!(parse(text, FAMILIES).is_ok(), "{text}");
        }
        for text in ["select 1; select 2", "", ";", "-- nothing"] {
            assert!(matches!(parse(text, FAMILIES), Err(SqlError::Statement { .. })), "{text}");
        }
    }

    #[test]
    fn mistakes_have_a_place() {
        let Err(SqlError::Statement { position, .. }) = parse("select a\nfrom )", FAMILIES) else { panic!() };
        assert_eq!(position, Some((2, 6)));
        let Err(SqlError::Statement { position, .. }) = parse("select 'open", FAMILIES) else { panic!() };
        assert_eq!(position, Some((1, 8)));
    }

    #[test]
    fn what_is_too_long_or_too_deep_is_refused() {
        let long = format!("select '{}'", "x".repeat(TEXT_MAX_BYTES));
        let deep = format!("select {}1", "1+".repeat(WORDS_MAX));
        let nested = format!("select {}1{}", "(".repeat(900), ")".repeat(900));
        for text in [long, deep, nested] {
            assert!(matches!(parse(&text, FAMILIES), Err(SqlError::Statement { .. })));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = parse(&text, FAMILIES);
        }

        #[test]
        fn no_words_panic(words in proptest::collection::vec("select|from|where|(|)|,|'|\"|a|1|\\*|=|and|not|case|when|end|\\[|\\]|::|int|over|join|on|group by|union|in|interval|extract|;|\\$1|--|/\\*", 0..60)) {
            let _ = parse(&words.join(" "), FAMILIES);
        }
    }
}
