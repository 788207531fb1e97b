use super::{ParseError, Parser};
use crate::metrics::METRIC_NAME;
use crate::metrics::promql::ast::Selector;
use crate::metrics::promql::lexer::Token;
use crate::model::{MatchOp, Matcher};

impl Parser {
    /// `name{..}`, `{..}` or `{"name", ..}`.
    pub(super) fn selector(&mut self) -> Result<Selector, ParseError> {
        let start = self.span();
        let mut selector = Selector::default();
        if let Token::Word(name) = self.peek().clone() {
            self.next();
            selector.name = Some(name);
        } else if !self.is_symbol("{") {
            return Err(self.unexpected(""));
        }
        if self.take_symbol("{") {
            self.matchers(&mut selector)?;
        }
        if let Some(name) = &selector.name {
            if let Some(other) = selector.matchers.iter().find(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal) {
                let message = format!("metric name must not be set twice: {name:?} or {:?}", other.value);
                return Err(ParseError::new(start, message));
            }
            selector.matchers.push(Matcher::equal(METRIC_NAME, name.clone()));
        }
        Ok(selector)
    }

    fn matchers(&mut self, selector: &mut Selector) -> Result<(), ParseError> {
        while !self.take_symbol("}") {
            self.matcher(selector)?;
            if !self.take_symbol(",") && !self.is_symbol("}") {
                let message = format!("unexpected {} in label matching, expected \",\" or \"}}\"", self.peek().describe());
                return Err(ParseError::new(self.span(), message));
            }
        }
        Ok(())
    }

    fn matcher(&mut self, selector: &mut Selector) -> Result<(), ParseError> {
        let (token, span) = self.next();
        let (name, quoted) = match token {
            Token::Word(word) => (word, false),
            Token::Text(text) => (text, true),
            Token::Number(value) if value.is_nan() => ("nan".to_owned(), false),
            Token::Number(value) if value.is_infinite() => ("inf".to_owned(), false),
            other => {
                let message = format!("unexpected {} in label matching, expected identifier or \"}}\"", other.describe());
                return Err(ParseError::new(span, message));
            }
        };
        let op = match self.peek() {
            Token::Symbol("=") => MatchOp::Equal,
            Token::Symbol("!=") => MatchOp::NotEqual,
            Token::Symbol("=~") => MatchOp::Regex,
            Token::Symbol("!~") => MatchOp::NotRegex,
            Token::Symbol("," | "}") if quoted => {
                if let Some(known) = &selector.name {
                    return Err(ParseError::new(span, format!("metric name must not be set twice: {known:?} or {name:?}")));
                }
                selector.name = Some(name);
                return Ok(());
            }
            other => {
                let message = format!("unexpected {} in label matching, expected label matching operator", other.describe());
                return Err(ParseError::new(self.span(), message));
            }
        };
        self.next();
        let (token, value_span) = self.next();
        let Token::Text(value) = token else {
            let message = format!("unexpected {} in label matching, expected string", token.describe());
            return Err(ParseError::new(value_span, message));
        };
        let matcher = Matcher::new(name, op, value).map_err(|e| ParseError::new(span, e.to_string()))?;
        selector.matchers.push(matcher);
        Ok(())
    }
}
