use super::{ParseError, Parser};
use crate::logs::logql::ast::{
    Comparison, Conversion, FormatSource, LabelFilter, LabelTest, LineFilter, LineOp, LineOperand, LogExpr, Stage, Unwrap,
};
use crate::logs::logql::convert;
use crate::logs::logql::lex::Token;

impl Parser {
    pub(super) fn log_expression(&mut self) -> Result<LogExpr, ParseError> {
        let matchers = self.selector()?;
        let stages = self.pipeline()?;
        Ok(LogExpr { matchers, stages })
    }

    /// Stages up to an `unwrap` or to what is no stage.
    pub(super) fn pipeline(&mut self) -> Result<Vec<Stage>, ParseError> {
        let mut stages = Vec::new();
        loop {
            if let Some(op) = self.line_op() {
                self.at += 1;
                stages.push(Stage::Line(self.line_filter(op)?));
            } else if self.is("|") && !matches!(self.ahead(1), Token::Keyword("unwrap")) {
                self.at += 1;
                stages.push(self.stage()?);
            } else {
                return Ok(stages);
            }
        }
    }

    fn line_op(&self) -> Option<LineOp> {
        Some(match self.token() {
            Token::Punct("|=") => LineOp::Contains,
            Token::Punct("!=") => LineOp::NotContains,
            Token::Punct("|~") => LineOp::Regex,
            Token::Punct("!~") => LineOp::NotRegex,
            Token::Punct("|>") => LineOp::Pattern,
            Token::Punct("!>") => LineOp::NotPattern,
            _ => return None,
        })
    }

    fn line_filter(&mut self, op: LineOp) -> Result<LineFilter, ParseError> {
        let mut operands = vec![self.line_operand(&["STRING", "ip"])?];
        while self.is_keyword("or") && matches!(self.ahead(1), Token::String(_) | Token::Keyword("ip")) {
            self.at += 1;
            operands.push(self.line_operand(&["STRING", "ip"])?);
        }
        if matches!(op, LineOp::Regex | LineOp::NotRegex) {
            let texts = operands.iter().filter_map(|o| if let LineOperand::Text(text) = o { Some(text) } else { None });
            texts.into_iter().try_for_each(|text| self.weigh(text))?;
        }
        Ok(LineFilter { op, operands })
    }

    fn line_operand(&mut self, expected: &[&str]) -> Result<LineOperand, ParseError> {
        if self.is_keyword("ip") { self.ip().map(LineOperand::Ip) } else { self.string(expected).map(LineOperand::Text) }
    }

    /// `ip("…")`
    fn ip(&mut self) -> Result<String, ParseError> {
        self.at += 1;
        self.expect("(", &["("])?;
        let pattern = self.string(&["STRING"])?;
        self.expect(")", &[")"])?;
        Ok(pattern)
    }

    fn stage(&mut self) -> Result<Stage, ParseError> {
        let Token::Keyword(word) = *self.token() else {
            return self.label_filter().map(Stage::Label);
        };
        match word {
            "json" | "logfmt" | "regexp" | "pattern" | "unpack" | "line_format" | "label_format" | "decolorize" | "drop" | "keep" => {
                self.at += 1;
            }
            _ => return Err(self.unexpected(&[])),
        }
        Ok(match word {
            "json" => Stage::Json(self.extractions()?),
            "logfmt" => {
                let (mut strict, mut keep_empty) = (false, false);
                while let Token::Flag(flag) = self.token().clone() {
                    self.at += 1;
                    strict |= flag == "strict";
                    keep_empty |= flag == "keep-empty";
                }
                Stage::Logfmt { strict, keep_empty, fields: self.extractions()? }
            }
            "regexp" => {
                let pattern = self.string(&["STRING"])?;
                self.weigh(&pattern)?;
                Stage::Regexp(pattern)
            }
            "pattern" => Stage::Pattern(self.string(&["STRING"])?),
            "unpack" => Stage::Unpack,
            "line_format" => Stage::LineFormat(self.string(&["STRING"])?),
            "label_format" => Stage::LabelFormat(self.label_formats()?),
            "decolorize" => {
                self.weigh("")?;
                Stage::Decolorize
            }
            "drop" => Stage::Drop(self.label_tests()?),
            _ => Stage::Keep(self.label_tests()?),
        })
    }

    /// `a, b="expression"`, or nothing.
    fn extractions(&mut self) -> Result<Vec<(String, String)>, ParseError> {
        let mut out = Vec::new();
        if !matches!(self.token(), Token::Ident(_)) {
            return Ok(out);
        }
        loop {
            let name = self.identifier(&["IDENTIFIER"])?;
            let expression = if self.take("=") { self.string(&["STRING"])? } else { name.clone() };
            out.push((name, expression));
            if !self.take(",") {
                return Ok(out);
            }
        }
    }

    fn label_formats(&mut self) -> Result<Vec<(String, FormatSource)>, ParseError> {
        let mut out: Vec<(String, FormatSource)> = Vec::new();
        loop {
            let name = self.identifier(&["IDENTIFIER"])?;
            self.expect("=", &["="])?;
            let source = match self.advance() {
                Token::Ident(source) => FormatSource::Rename(source),
                Token::String(template) => FormatSource::Template(template),
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected(&["IDENTIFIER", "STRING"]));
                }
            };
            if name == "__error__" {
                return Err(ParseError::new("__error__ cannot be formatted"));
            }
            if out.iter().any(|(n, _)| *n == name) {
                return Err(ParseError::new(format!("multiple label name '{name}' not allowed in a single format operation")));
            }
            out.push((name, source));
            if !self.take(",") {
                return Ok(out);
            }
        }
    }

    fn label_tests(&mut self) -> Result<Vec<LabelTest>, ParseError> {
        let mut out = Vec::new();
        loop {
            let name = self.identifier(&["IDENTIFIER"])?;
            out.push(match self.match_op() {
                Some(op) => {
                    let value = self.string(&["STRING"])?;
                    LabelTest::Matcher(self.matcher(name, op, value)?)
                }
                None => LabelTest::Name(name),
            });
            if !self.take(",") {
                return Ok(out);
            }
        }
    }

    pub(super) fn label_filter(&mut self) -> Result<LabelFilter, ParseError> {
        self.nested(Parser::label_filter_or)
    }

    fn label_filter_or(&mut self) -> Result<LabelFilter, ParseError> {
        let mut left = self.label_filter_and()?;
        while self.is_keyword("or") && matches!(self.ahead(1), Token::Ident(_) | Token::Punct("(")) {
            self.at += 1;
            left = LabelFilter::Or(Box::new(left), Box::new(self.label_filter_and()?));
        }
        Ok(left)
    }

    fn label_filter_and(&mut self) -> Result<LabelFilter, ParseError> {
        let mut left = self.label_filter_one()?;
        let mut terms = 1;
        loop {
            let joined = self.is_keyword("and") || self.is(",");
            if joined {
                self.at += 1;
            } else if !matches!(self.token(), Token::Ident(_) | Token::Punct("(")) {
                return Ok(left);
            }
            terms += 1;
            if terms > TERMS_MAX {
                return Err(self.unexpected(&[]));
            }
            left = LabelFilter::And(Box::new(left), Box::new(self.label_filter_one()?));
        }
    }

    fn label_filter_one(&mut self) -> Result<LabelFilter, ParseError> {
        if self.take("(") {
            let inner = self.label_filter()?;
            self.expect(")", &[])?;
            return Ok(inner);
        }
        let name = self.identifier(&[])?;
        if let Token::Punct(op @ ("=" | "!=")) = *self.token()
            && *self.ahead(1) == Token::Keyword("ip")
        {
            self.at += 1;
            return Ok(LabelFilter::Ip { name, negative: op == "!=", pattern: self.ip()? });
        }
        if let (Token::Punct("=" | "!=" | "=~" | "!~"), Token::String(_)) = (self.token(), self.ahead(1)) {
            let op = self.match_op().ok_or_else(|| self.unexpected(&[]))?;
            let value = self.string(&["STRING"])?;
            return Ok(LabelFilter::Matcher(self.matcher(name, op, value)?));
        }
        let op = match self.token() {
            Token::Punct("=" | "==") => Comparison::Equal,
            Token::Punct("!=") => Comparison::NotEqual,
            Token::Punct(">") => Comparison::Greater,
            Token::Punct(">=") => Comparison::GreaterEqual,
            Token::Punct("<") => Comparison::Less,
            Token::Punct("<=") => Comparison::LessEqual,
            Token::Punct("=~" | "!~") => {
                self.at += 1;
                return Err(self.unexpected(&["STRING"]));
            }
            _ => return Err(self.unexpected(&[])),
        };
        self.at += 1;
        let negative = self.is("-");
        if (negative || self.is("+")) && matches!(self.ahead(1), Token::Number(_)) {
            self.at += 1;
        }
        match self.token().clone() {
            Token::Number(text) => {
                let value = number(&text)?;
                self.at += 1;
                Ok(LabelFilter::Number { name, op, value: if negative { -value } else { value } })
            }
            Token::Duration(value) => {
                self.at += 1;
                Ok(LabelFilter::Duration { name, op, value })
            }
            Token::Bytes(value) => {
                self.at += 1;
                Ok(LabelFilter::Bytes { name, op, value })
            }
            _ => Err(self.unexpected(&[])),
        }
    }

    /// `| unwrap x | filter …`, if it stands here.
    pub(super) fn unwrap_stage(&mut self) -> Result<Option<Unwrap>, ParseError> {
        if !(self.is("|") && *self.ahead(1) == Token::Keyword("unwrap")) {
            return Ok(None);
        }
        self.at += 2;
        let conversion = match *self.token() {
            Token::Function("bytes") => Conversion::Bytes,
            Token::Function(name @ ("duration" | "duration_seconds")) => Conversion::Duration(name),
            _ => Conversion::None,
        };
        let label = if conversion == Conversion::None {
            self.identifier(&["IDENTIFIER", "BYTES_CONV", "DURATION_CONV", "DURATION_SECONDS_CONV"])?
        } else {
            self.at += 1;
            self.expect("(", &["("])?;
            let label = self.identifier(&["IDENTIFIER"])?;
            self.expect(")", &[")"])?;
            label
        };
        let mut filters = Vec::new();
        while self.take("|") {
            filters.push(self.label_filter()?);
        }
        Ok(Some(Unwrap { label, conversion, filters }))
    }
}

/// Filters joined in one stage: the tree leans left, and evaluation recurses over it.
const TERMS_MAX: usize = 256;

pub(super) fn number(text: &str) -> Result<f64, ParseError> {
    let value = if text.starts_with("0b") || text.starts_with("0o") || text.starts_with("0B") || text.starts_with("0O") {
        Err(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
    } else {
        convert::parse_float(text)
    };
    value.map_err(|e| ParseError::new(format!("unable to parse literal as a float: {e}")))
}
