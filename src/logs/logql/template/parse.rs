use super::value::Value;
use super::{Template, functions};
use crate::model::quote::unquote;
use std::collections::HashMap;

#[derive(Debug, Clone)]
pub enum Node {
    Text(String),
    Print(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { over: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
    Call { name: String, data: Option<Pipeline> },
    Break,
    Continue,
}

/// `$x := command | command`
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Variables that are set, with their dollars; two only in `range`.
    pub variables: Vec<String>,
    /// `:=` rather than `=`.
    pub declares: bool,
    pub commands: Vec<Vec<Operand>>,
}

#[derive(Debug, Clone)]
pub enum Operand {
    Constant(Value),
    /// `.a.b`; no names for `.` alone.
    Field(Vec<String>),
    /// `$x.a`
    Variable(String, Vec<String>),
    Function(String),
    /// `(…).a`
    Nested(Box<Pipeline>, Vec<String>),
}

/// Actions inside each other.
const DEPTH_MAX: usize = 64;

pub fn parse(text: &str) -> Result<Template, String> {
    let mut parser = Parser { pieces: split(text)?, at: 0, depth: 0, defined: HashMap::new() };
    let (body, end) = parser.list()?;
    match end {
        None => Ok(Template { body, defined: parser.defined }),
        Some(end) => Err(format!("unexpected {{{{{}}}}}", end.word)),
    }
}

/// Text, or the inside of an action.
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// `.a`
    Field(String),
    Dot,
    Variable(String),
    Word(String),
    Constant(Value),
    /// `| ( ) , := =` and a blank between operands.
    Punct(&'static str),
    Space,
}

/// What ended a list of nodes.
struct End {
    word: &'static str,
    rest: Vec<Token>,
}

/// Cuts a template into text and actions; `{{-` and `-}}` trim the text beside them.
fn split(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    loop {
        let (mut before, after) = match rest.split_once("{{") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        if trim_next {
            before = before.trim_start();
        }
        let left_trim = after.is_some_and(|a| a.starts_with("- ") || a.starts_with("-\n") || a.starts_with("-\t"));
        if left_trim {
            before = before.trim_end();
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let Some(after) = after else { return Ok(pieces) };
        let inside = if left_trim { &after[2..] } else { after };
        if let Some(comment) = inside.trim_start().strip_prefix("/*") {
            let (_, after) = comment.split_once("*/").ok_or("unclosed comment")?;
            trim_next = after.starts_with(" -}}");
            rest = after.strip_prefix(" -").unwrap_or(after).strip_prefix("}}").ok_or("comment ends before closing delimiter")?;
            continue;
        }
        let (tokens, after, trim) = tokens(inside)?;
        pieces.push(Piece::Action(tokens));
        trim_next = trim;
        rest = after;
    }
}

/// Tokens up to `}}`, what follows it, and whether it trims.
fn tokens(text: &str) -> Result<(Vec<Token>, &str, bool), String> {
    let mut out: Vec<Token> = Vec::new();
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((out, after, false));
        }
        if out.last().is_none_or(|t| *t == Token::Space)
            && let Some(after) = rest.strip_prefix("-}}")
        {
            return Ok((out, after, true));
        }
        let Some(c) = rest.chars().next() else { return Err("unclosed action".into()) };
        let word_end = |from: &str| from.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(from.len());
        let (token, length) = match c {
            c if c.is_whitespace() => (Token::Space, rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len())),
            '"' | '`' | '\'' => {
                let (value, length) = quoted(rest, c)?;
                (Token::Constant(value), length)
            }
            '.' => match word_end(&rest[1..]) {
                0 => (Token::Dot, 1),
                _ if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => number(rest)?,
                end => (Token::Field(rest[1..=end].to_owned()), end + 1),
            },
            '$' => {
                let end = 1 + word_end(&rest[1..]);
                (Token::Variable(rest[..end].to_owned()), end)
            }
            c if c.is_ascii_digit() => number(rest)?,
            '-' | '+' if rest[1..].starts_with(|c: char| c.is_ascii_digit() || c == '.') => number(rest)?,
            ':' if rest.starts_with(":=") => (Token::Punct(":="), 2),
            '|' => (Token::Punct("|"), 1),
            '(' => (Token::Punct("("), 1),
            ')' => (Token::Punct(")"), 1),
            ',' => (Token::Punct(","), 1),
            '=' => (Token::Punct("="), 1),
            c if c.is_alphabetic() || c == '_' => {
                let end = word_end(rest);
                (word(&rest[..end]), end)
            }
            c => return Err(format!("unexpected {c:?} in action")),
        };
        if !(token == Token::Space && out.last() == Some(&Token::Space)) {
            out.push(token);
        }
        rest = &rest[length..];
    }
}

fn word(text: &str) -> Token {
    match text {
        "true" => Token::Constant(Value::Bool(true)),
        "false" => Token::Constant(Value::Bool(false)),
        "nil" => Token::Constant(Value::Nil),
        other => Token::Word(other.to_owned()),
    }
}

fn quoted(text: &str, quote: char) -> Result<(Value, usize), String> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == '\n' && quote != '`' {
            break;
        } else if c == quote {
            let bytes = unquote(&text[1..at], quote).ok_or("invalid syntax")?;
            let inside = String::from_utf8_lossy(&bytes).into_owned();
            let value = match (quote, inside.chars().next()) {
                ('\'', Some(c)) => Value::Int(i64::from(c as u32)),
                ('\'', None) => return Err("malformed character constant".into()),
                _ => Value::Text(inside),
            };
            return Ok((value, at + 1));
        }
    }
    Err(if quote == '`' { "unterminated raw quoted string" } else { "unterminated quoted string" }.into())
}

fn number(text: &str) -> Result<(Token, usize), String> {
    let sign = usize::from(text.starts_with(['-', '+']));
    let end = text[sign..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_')).map_or(text.len(), |e| e + sign);
    let digits = text[..end].replace('_', "");
    let unsigned = digits.trim_start_matches(['-', '+']);
    let radix = |prefix: &str, radix: u32| unsigned.strip_prefix(prefix).and_then(|d| i64::from_str_radix(d, radix).ok());
    let integer = radix("0x", 16).or_else(|| radix("0b", 2)).or_else(|| radix("0o", 8)).or_else(|| unsigned.parse::<i64>().ok());
    let negative = digits.starts_with('-');
    if let Some(n) = integer {
        return Ok((Token::Constant(Value::Int(if negative { -n } else { n })), end));
    }
    match digits.parse::<f64>() {
        Ok(f) => Ok((Token::Constant(Value::Float(f)), end)),
        Err(_) => Err(format!("bad number syntax: {:?}", &text[..end])),
    }
}

struct Parser {
    pieces: Vec<Piece>,
    at: usize,
    depth: usize,
    defined: HashMap<String, Vec<Node>>,
}

const ENDS: [&str; 2] = ["end", "else"];

impl Parser {
    /// Nodes up to `end`, `else` or the end of the text.
    fn list(&mut self) -> Result<(Vec<Node>, Option<End>), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("template is nested too deeply".into());
        }
        let mut nodes = Vec::new();
        loop {
            let Some(piece) = self.pieces.get(self.at) else {
                self.depth -= 1;
                return Ok((nodes, None));
            };
            self.at += 1;
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.clone()));
                    continue;
                }
                Piece::Action(tokens) => tokens.clone(),
            };
            let mut cursor = Cursor { tokens, at: 0, depth: 0 };
            cursor.blank();
            if let Some(Token::Word(first)) = cursor.peek()
                && let Some(word) = ENDS.iter().find(|e| *e == first)
            {
                self.depth -= 1;
                return Ok((nodes, Some(End { word, rest: cursor.tokens[cursor.at + 1..].to_vec() })));
            }
            if let Some(node) = self.action(cursor)? {
                nodes.push(node);
            }
        }
    }

    fn action(&mut self, mut cursor: Cursor) -> Result<Option<Node>, String> {
        let word = match cursor.peek() {
            Some(Token::Word(word)) => word.clone(),
            Some(_) => String::new(),
            None => return Err("missing value for command".into()),
        };
        if !matches!(word.as_str(), "if" | "with" | "range" | "define" | "block" | "template" | "break" | "continue") {
            return Ok(Some(Node::Print(cursor.whole_pipeline("command")?)));
        }
        cursor.at += 1;
        cursor.blank();
        match word.as_str() {
            "if" | "with" | "range" => self.control(&word, cursor).map(Some),
            "break" => Ok(Some(Node::Break)),
            "continue" => Ok(Some(Node::Continue)),
            "template" => {
                let name = cursor.name()?;
                let data = if cursor.peek().is_some() { Some(cursor.whole_pipeline("template")?) } else { None };
                Ok(Some(Node::Call { name, data }))
            }
            _ => {
                let name = cursor.name()?;
                let data = if word == "block" { Some(cursor.whole_pipeline("block")?) } else { None };
                let (body, end) = self.list()?;
                if end.is_none_or(|e| e.word != "end") {
                    return Err("unexpected EOF".into());
                }
                self.defined.insert(name.clone(), body);
                Ok((word == "block").then_some(Node::Call { name, data }))
            }
        }
    }

    fn control(&mut self, word: &str, mut cursor: Cursor) -> Result<Node, String> {
        let pipeline = cursor.whole_pipeline(word)?;
        let (then, end) = self.list()?;
        let mut otherwise = Vec::new();
        match end {
            None => return Err("unexpected EOF".into()),
            Some(End { word: "else", rest }) => {
                let mut cursor = Cursor { tokens: rest, at: 0, depth: 0 };
                cursor.blank();
                match cursor.peek().cloned() {
                    Some(Token::Word(chained)) if chained == word && word != "range" => {
                        cursor.at += 1;
                        cursor.blank();
                        self.depth += 1;
                        if self.depth > DEPTH_MAX {
                            return Err("template is nested too deeply".into());
                        }
                        otherwise.push(self.control(word, cursor)?);
                        self.depth -= 1;
                    }
                    Some(_) => return Err("unexpected token in {{else}}".into()),
                    None => {
                        let (nodes, end) = self.list()?;
                        if end.is_none_or(|e| e.word != "end") {
                            return Err("unexpected EOF".into());
                        }
                        otherwise = nodes;
                    }
                }
            }
            Some(_) => {}
        }
        Ok(match word {
            "if" => Node::If { condition: pipeline, then, otherwise },
            "with" => Node::With { value: pipeline, then, otherwise },
            _ => Node::Range { over: pipeline, body: then, otherwise },
        })
    }
}

struct Cursor {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Cursor {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn blank(&mut self) {
        self.at += usize::from(self.peek() == Some(&Token::Space));
    }

    fn take(&mut self, punct: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Punct(p)) if *p == punct);
        self.at += usize::from(found);
        found
    }

    fn name(&mut self) -> Result<String, String> {
        let name = match self.peek() {
            Some(Token::Constant(Value::Text(name))) => name.clone(),
            _ => return Err("expected a template name".into()),
        };
        self.at += 1;
        self.blank();
        Ok(name)
    }

    fn whole_pipeline(&mut self, context: &str) -> Result<Pipeline, String> {
        let pipeline = self.pipeline(context)?;
        if self.peek().is_some() { Err(format!("unexpected token in {context}")) } else { Ok(pipeline) }
    }

    fn pipeline(&mut self, context: &str) -> Result<Pipeline, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("template is nested too deeply".into());
        }
        let (variables, declares) = self.assignment()?;
        let mut commands = Vec::new();
        loop {
            self.blank();
            let command = self.command()?;
            if command.is_empty() {
                return Err(format!("missing value for {context}"));
            }
            if !commands.is_empty() && !matches!(command[0], Operand::Function(_)) {
                return Err("non executable command in pipeline stage".into());
            }
            commands.push(command);
            if !self.take("|") {
                self.depth -= 1;
                return Ok(Pipeline { variables, declares, commands });
            }
        }
    }

    /// `$x :=`, `$x =` or `$i, $x :=`, if one stands here.
    fn assignment(&mut self) -> Result<(Vec<String>, bool), String> {
        let start = self.at;
        let mut variables = Vec::new();
        while let Some(Token::Variable(name)) = self.peek().cloned() {
            self.at += 1;
            variables.push(name);
            self.blank();
            if self.take(":=") {
                return Ok((variables, true));
            }
            if self.take("=") {
                return Ok((variables, false));
            }
            if !self.take(",") || variables.len() > 1 {
                break;
            }
            self.blank();
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self) -> Result<Vec<Operand>, String> {
        let mut operands = Vec::new();
        while let Some(operand) = self.operand()? {
            operands.push(operand);
            if self.peek() != Some(&Token::Space) {
                break;
            }
            self.blank();
        }
        Ok(operands)
    }

    fn operand(&mut self) -> Result<Option<Operand>, String> {
        let Some(token) = self.peek().cloned() else { return Ok(None) };
        let operand = match token {
            Token::Constant(value) => Operand::Constant(value),
            Token::Dot => Operand::Field(Vec::new()),
            Token::Field(name) => {
                self.at += 1;
                let mut names = vec![name];
                names.extend(self.fields());
                return Ok(Some(Operand::Field(names)));
            }
            Token::Variable(name) => {
                self.at += 1;
                return Ok(Some(Operand::Variable(name, self.fields())));
            }
            Token::Word(name) if functions::exists(&name) => Operand::Function(name),
            Token::Word(name) => return Err(format!("function {name:?} not defined")),
            Token::Punct("(") => {
                self.at += 1;
                let inner = self.pipeline("parenthesized pipeline")?;
                self.blank();
                if !self.take(")") {
                    return Err("unclosed left paren".into());
                }
                return Ok(Some(Operand::Nested(Box::new(inner), self.fields())));
            }
            Token::Punct("|" | ")") => return Ok(None),
            Token::Punct(other) => return Err(format!("unexpected {other:?} in operand")),
            Token::Space => return Ok(None),
        };
        self.at += 1;
        Ok(Some(operand))
    }

    /// `.a.b` directly behind an operand.
    fn fields(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(Token::Field(name)) = self.peek().cloned() {
            self.at += 1;
            names.push(name);
        }
        names
    }
}

/// Adds the names of the fields that `nodes` read; `false` if they may read any.
pub fn fields(nodes: &[Node], out: &mut Vec<String>) -> bool {
    nodes.iter().all(|node| match node {
        Node::Text(_) | Node::Break | Node::Continue => true,
        Node::Print(pipeline) => pipeline_fields(pipeline, out),
        Node::If { condition: pipeline, then, otherwise }
        | Node::With { value: pipeline, then, otherwise }
        | Node::Range { over: pipeline, body: then, otherwise } => {
            pipeline_fields(pipeline, out) && fields(then, out) && fields(otherwise, out)
        }
        Node::Call { .. } => false,
    })
}

fn pipeline_fields(pipeline: &Pipeline, out: &mut Vec<String>) -> bool {
    pipeline.commands.iter().flatten().all(|operand| match operand {
        Operand::Constant(_) | Operand::Function(_) => true,
        Operand::Field(names) | Operand::Variable(_, names) => {
            out.extend(names.first().cloned());
            !names.is_empty() || matches!(operand, Operand::Variable(name, _) if name != "$")
        }
        Operand::Nested(inner, _) => pipeline_fields(inner, out),
    })
}
