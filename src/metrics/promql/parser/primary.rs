use super::{ParseError, Parser};
use crate::metrics::promql::ast::{AggregateOp, Aggregation, At, Duration, Expr, Kind, Subquery};
use crate::metrics::promql::functions::find;
use crate::metrics::promql::lexer::Token;
use crate::query::Grouping;

impl Parser {
    /// A primary with what may follow it: ranges, `offset`, `@`, `anchored`, `smoothed`.
    pub(super) fn postfix(&mut self) -> Result<Expr, ParseError> {
        let mut expr = self.primary()?;
        loop {
            let start = expr.span.start;
            if self.is_symbol("[") {
                expr = self.range(expr)?;
            } else if self.is_word("offset") {
                self.next();
                let offset = self.offset_duration()?;
                set_offset(&mut expr, offset)?;
            } else if self.is_symbol("@") {
                self.next();
                let at = self.at_modifier()?;
                set_at(&mut expr, at)?;
            } else if self.is_word("anchored") || self.is_word("smoothed") {
                let (token, _) = self.next();
                let anchored = matches!(token, Token::Word(w) if w.eq_ignore_ascii_case("anchored"));
                set_extended(&mut expr, anchored)?;
            } else {
                return Ok(expr);
            }
            expr.span.start = start;
            expr.span.end = self.end();
        }
    }

    fn range(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let (_, open) = self.next();
        let range = self.duration("range")?;
        let start = expr.span.start;
        if self.take_symbol("]") {
            let Kind::Selector(selector) = expr.kind else {
                return Err(ParseError::new(open, "ranges only allowed for vector selectors"));
            };
            if selector.offset.is_some() {
                return Err(ParseError::new(open, "no offset modifiers allowed before range"));
            }
            if selector.at.is_some() {
                return Err(ParseError::new(open, "no @ modifiers allowed before range"));
            }
            return Ok(Parser::node(Kind::Range { selector, range }, start, self.end()));
        }
        self.expect_symbol(":", "subquery or range selector, expected \":\" or \"]\"")?;
        let step = if self.is_symbol("]") { None } else { Some(self.duration("step")?) };
        self.expect_symbol("]", "subquery selector")?;
        // A chain of them is parsed in a loop, too, and even dropping a deep tree takes the stack.
        self.count_operator()?;
        let subquery = Subquery { expr, range, step, offset: None, at: None };
        Ok(Parser::node(Kind::Subquery(Box::new(subquery)), start, self.end()))
    }

    fn at_modifier(&mut self) -> Result<At, ParseError> {
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if self.is_word(word) && *self.peek_after() == Token::Symbol("(") {
                self.next();
                self.next();
                self.expect_symbol(")", "@ modifier")?;
                return Ok(at);
            }
        }
        let negative = self.is_symbol("-");
        if negative || self.is_symbol("+") {
            self.next();
        }
        let (token, span) = self.next();
        let seconds = match token {
            Token::Number(value) => value,
            Token::Duration(nanos) => nanos as f64 / 1e9,
            other => return Err(ParseError::new(span, format!("unexpected {} in @, expected timestamp", other.describe()))),
        };
        let ms = (if negative { -seconds } else { seconds }) * 1000.0;
        if !ms.is_finite() || ms.abs() >= i64::MAX as f64 {
            return Err(ParseError::new(span, "timestamp out of bounds for @ modifier"));
        }
        Ok(At::Time(ms.round() as i64))
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        let span = self.span();
        match self.peek().clone() {
            Token::Number(value) => {
                self.next();
                Ok(Parser::node(Kind::Number { value, duration: false }, span.start, span.end))
            }
            Token::Duration(nanos) => {
                self.next();
                Ok(Parser::node(Kind::Number { value: nanos as f64 / 1e9, duration: true }, span.start, span.end))
            }
            Token::Text(text) => {
                self.next();
                Ok(Parser::node(Kind::Text(text), span.start, span.end))
            }
            Token::Symbol("(") => {
                self.next();
                if self.is_symbol(")") {
                    return Err(self.unexpected(""));
                }
                let inner = self.expr()?;
                self.expect_symbol(")", "parenthesized expression")?;
                Ok(Parser::node(Kind::Paren(Box::new(inner)), span.start, self.end()))
            }
            Token::Symbol("{") => self.selector_expr(),
            Token::Word(word) => self.word_expr(&word),
            Token::End => Err(self.at_end_of_input()),
            _ => Err(self.unexpected("")),
        }
    }

    /// A query that ends too early lacks a closing parenthesis first of all.
    fn at_end_of_input(&self) -> ParseError {
        let mut open = 0i64;
        for (token, _) in &self.tokens {
            match token {
                Token::Symbol("(") => open += 1,
                Token::Symbol(")") => open -= 1,
                _ => {}
            }
        }
        let message = if open > 0 { "unclosed left parenthesis" } else { "unexpected end of input" };
        ParseError::new(self.span(), message)
    }

    fn word_expr(&mut self, word: &str) -> Result<Expr, ParseError> {
        let lower = word.to_ascii_lowercase();
        let opens = *self.peek_after() == Token::Symbol("(");
        let grouped = matches!(self.peek_after(), Token::Word(w) if w.eq_ignore_ascii_case("by") || w.eq_ignore_ascii_case("without"));
        if let Some(op) = AggregateOp::parse(&lower).filter(|_| opens || grouped) {
            return self.aggregation(op);
        }
        if matches!(lower.as_str(), "atan2" | "bool" | "ignoring" | "on" | "group_left" | "group_right") {
            return Err(self.unexpected(""));
        }
        if opens { self.call(word) } else { self.selector_expr() }
    }

    fn call(&mut self, name: &str) -> Result<Expr, ParseError> {
        let (_, span) = self.next();
        let Some(function) = find(name) else {
            return Err(ParseError::new(span, format!("unknown function with name {name:?}")));
        };
        let args = self.arguments()?;
        Ok(Parser::node(Kind::Call { function, args }, span.start, self.end()))
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect_symbol("(", "call")?;
        let mut args = Vec::new();
        if self.take_symbol(")") {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if self.take_symbol(",") {
                if self.is_symbol(")") {
                    return Err(ParseError::new(self.span(), "trailing commas not allowed in function call args"));
                }
                continue;
            }
            self.expect_symbol(")", "call, expected \",\" or \")\"")?;
            return Ok(args);
        }
    }

    fn aggregation(&mut self, op: AggregateOp) -> Result<Expr, ParseError> {
        let (_, span) = self.next();
        let mut clause = self.grouping()?;
        let mut args = self.arguments()?;
        if clause.is_none() {
            clause = self.grouping()?;
        }
        let wanted = if op.has_param() { 2 } else { 1 };
        let end = self.end();
        if args.len() != wanted {
            let message = if args.is_empty() {
                "no arguments for aggregate expression provided".to_owned()
            } else {
                format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {}", args.len())
            };
            return Err(ParseError::new(super::Span::new(span.start, end), message));
        }
        let param = if op.has_param() { Some(args.remove(0)) } else { None };
        let expr = args.remove(0);
        let grouped = clause.is_some();
        let aggregation = Aggregation { op, expr, param, grouping: clause.unwrap_or_default(), grouped };
        Ok(Parser::node(Kind::Aggregation(Box::new(aggregation)), span.start, end))
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = self.is_word("without");
        if !without && !self.is_word("by") {
            return Ok(None);
        }
        self.next();
        let names = self.label_list("grouping opts")?;
        Ok(Some(if without { Grouping::without(names) } else { Grouping::by(names) }))
    }

    fn selector_expr(&mut self) -> Result<Expr, ParseError> {
        let start = self.span().start;
        let selector = self.selector()?;
        Ok(Parser::node(Kind::Selector(selector), start, self.end()))
    }
}

fn set_offset(expr: &mut Expr, offset: Duration) -> Result<(), ParseError> {
    let slot = match &mut expr.kind {
        Kind::Selector(selector) | Kind::Range { selector, .. } => &mut selector.offset,
        Kind::Subquery(subquery) => &mut subquery.offset,
        _ => {
            let message = "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return Err(ParseError::new(expr.span, message));
        }
    };
    if slot.is_some() {
        return Err(ParseError::new(expr.span, "offset may not be set multiple times"));
    }
    *slot = Some(offset);
    Ok(())
}

fn set_at(expr: &mut Expr, at: At) -> Result<(), ParseError> {
    let slot = match &mut expr.kind {
        Kind::Selector(selector) | Kind::Range { selector, .. } => &mut selector.at,
        Kind::Subquery(subquery) => &mut subquery.at,
        _ => {
            let message = "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return Err(ParseError::new(expr.span, message));
        }
    };
    if slot.is_some() {
        return Err(ParseError::new(expr.span, "@ <timestamp> may not be set multiple times"));
    }
    *slot = Some(at);
    Ok(())
}

fn set_extended(expr: &mut Expr, anchored: bool) -> Result<(), ParseError> {
    let word = if anchored { "anchored" } else { "smoothed" };
    let selector = match &mut expr.kind {
        Kind::Range { selector, .. } => selector,
        Kind::Selector(selector) if !anchored => selector,
        Kind::Selector(_) => {
            return Err(ParseError::new(expr.span, "anchored modifier must be preceded by a range vector selector"));
        }
        _ => {
            let message = format!("{word} modifier must be preceded by an instant vector selector or range vector selector");
            return Err(ParseError::new(expr.span, message));
        }
    };
    if selector.anchored || selector.smoothed {
        return Err(ParseError::new(expr.span, "anchored and smoothed modifiers may be set once, and not both"));
    }
    selector.anchored = anchored;
    selector.smoothed = !anchored;
    Ok(())
}
