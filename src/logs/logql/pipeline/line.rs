use super::ip::IpPattern;
use super::pattern::Pattern;
use crate::logs::logql::ast::{self, LineOp, LineOperand};
use crate::logs::logql::parse::ParseError;
use crate::logs::logql::print;
use crate::logs::tokens::{Clause, Text};
use crate::model::regexp;
use memchr::memmem::Finder;

/// A line filter (contracts/loki.md 3.3): operands joined by `or`; a negative one drops lines that match any.
pub struct LineFilter {
    negative: bool,
    tests: Vec<Test>,
}

enum Test {
    Contains(Box<Finder<'static>>),
    Regex(regex::Regex),
    Pattern(Pattern),
    Ip(IpPattern),
}

impl LineFilter {
    pub fn compile(filter: &ast::LineFilter) -> Result<LineFilter, ParseError> {
        let mut tests = Vec::new();
        for operand in &filter.operands {
            // An operand that every line matches takes no part in a chain of `or`.
            let always =
                matches!(operand, LineOperand::Text(t) if t.is_empty()) && !matches!(filter.op, LineOp::Pattern | LineOp::NotPattern);
            if !(always && filter.operands.len() > 1) {
                tests.push(Test::compile(filter, operand)?);
            }
        }
        if tests.is_empty() {
            tests.push(Test::Contains(Box::new(Finder::new("").into_owned())));
        }
        Ok(LineFilter { negative: filter.op.negative(), tests })
    }

    /// The texts of lines that it keeps; `None` if they may be any.
    pub fn texts(&self) -> Option<Clause> {
        if self.negative {
            return None;
        }
        let mut alternatives = Vec::new();
        for test in &self.tests {
            match test {
                Test::Contains(finder) => alternatives.push(vec![Text::of(std::str::from_utf8(finder.needle()).ok()?)]),
                Test::Regex(re) => {
                    let texts = |texts: Vec<String>| texts.iter().map(|t| Text::of(t)).collect();
                    alternatives.extend(regexp::required_texts(re).into_iter().map(texts));
                }
                Test::Pattern(pattern) => alternatives.push(pattern.literals().map(Text::of).collect()),
                Test::Ip(_) => return None,
            }
        }
        alternatives.iter().all(|texts: &Vec<Text>| texts.iter().any(Text::tells)).then_some(alternatives)
    }

    pub fn keeps(&self, line: &str) -> bool {
        self.tests.iter().any(|t| t.matches(line)) != self.negative
    }
}

impl Test {
    fn compile(filter: &ast::LineFilter, operand: &LineOperand) -> Result<Test, ParseError> {
        let staged = |e: String| ParseError::new(format!("stage '{}' : {e}", print::line_filter(filter)));
        match (filter.op, operand) {
            (LineOp::Contains | LineOp::NotContains, LineOperand::Text(text)) => {
                Ok(Test::Contains(Box::new(Finder::new(text).into_owned())))
            }
            (LineOp::Regex | LineOp::NotRegex, LineOperand::Text(re)) => {
                crate::model::regexp::compile(re).map(Test::Regex).map_err(|e| staged(e.to_string()))
            }
            (LineOp::Pattern | LineOp::NotPattern, LineOperand::Text(text)) => {
                Pattern::line_filter(text).map(Test::Pattern).map_err(staged)
            }
            (LineOp::Contains | LineOp::NotContains, LineOperand::Ip(pattern)) => {
                let pattern = IpPattern::parse(pattern)
                    .ok_or_else(|| staged(format!("ip: invalid pattern: {}", crate::model::quote::quote(pattern))))?;
                Ok(Test::Ip(pattern))
            }
            (_, LineOperand::Ip(_)) => Err(staged("ip: invalid operation".into())),
        }
    }

    fn matches(&self, line: &str) -> bool {
        match self {
            Test::Contains(finder) => finder.find(line.as_bytes()).is_some(),
            Test::Regex(re) => re.is_match(line),
            Test::Pattern(pattern) => pattern.matches_whole(line),
            Test::Ip(pattern) => pattern.found_in(line),
        }
    }
}
