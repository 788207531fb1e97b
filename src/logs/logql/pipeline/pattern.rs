use super::Entry;
use crate::logs::logql::parse::ParseError;

/// `<ip> - <_> "<method>`: literals and captures, which alternate but for the ends.
#[derive(Debug)]
pub struct Pattern {
    nodes: Vec<Node>,
}

#[derive(Debug, PartialEq, Eq)]
enum Node {
    Literal(String),
    /// `None` for `<_>`.
    Capture(Option<String>),
}

/// `<name>` at the start of `text`: the name and its length with the brackets.
fn capture(text: &str) -> Option<(&str, usize)> {
    let end = text.find('>')?;
    let name = text.get(1..end)?;
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    (first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')).then_some((name, end + 1))
}

fn nodes(text: &str) -> Result<Vec<Node>, String> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut rest = text;
    let mut last_capture = "";
    while let Some(c) = rest.chars().next() {
        if c == '<'
            && let Some((name, length)) = capture(rest)
        {
            if let Some(Node::Capture(_)) = nodes.last() {
                return Err(format!("found consecutive capture '{last_capture}{}': invalid expression", &rest[..length]));
            }
            last_capture = &rest[..length];
            nodes.push(Node::Capture((name != "_").then(|| name.to_owned())));
            rest = &rest[length..];
            continue;
        }
        match nodes.last_mut() {
            Some(Node::Literal(literal)) => literal.push(c),
            _ => nodes.push(Node::Literal(c.to_string())),
        }
        rest = &rest[c.len_utf8()..];
    }
    Ok(nodes)
}

impl Pattern {
    /// For `| pattern`.
    pub fn parser(text: &str) -> Result<Pattern, ParseError> {
        let error = |why: &str| ParseError::new(format!("invalid pattern parser: {why}"));
        let nodes = nodes(text).map_err(|e| error(&e))?;
        let names: Vec<&String> = nodes.iter().filter_map(|n| if let Node::Capture(Some(name)) = n { Some(name) } else { None }).collect();
        if names.is_empty() {
            return Err(error("at least one capture is required: invalid expression"));
        }
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(error(&format!("duplicate capture name ({name}): invalid expression")));
            }
        }
        Ok(Pattern { nodes })
    }

    /// For `|>`, where captures have no names.
    pub fn line_filter(text: &str) -> Result<Pattern, String> {
        let nodes = nodes(text)?;
        match nodes.iter().find_map(|n| if let Node::Capture(Some(name)) = n { Some(name) } else { None }) {
            Some(name) => Err(format!("named captures are not allowed: found '<{name}>'")),
            None => Ok(Pattern { nodes }),
        }
    }

    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter_map(|n| if let Node::Literal(literal) = n { Some(literal.as_str()) } else { None })
    }

    /// Each wildcard takes one byte or more, and nothing may be left over.
    pub fn matches_whole(&self, line: &str) -> bool {
        let mut rest = line;
        let mut wild = false;
        for (at, node) in self.nodes.iter().enumerate() {
            let Node::Literal(literal) = node else {
                wild = true;
                continue;
            };
            if !wild {
                let Some(after) = rest.strip_prefix(literal.as_str()) else { return false };
                rest = after;
                continue;
            }
            if at + 1 == self.nodes.len() {
                return rest.len() > literal.len() && rest.ends_with(literal.as_str());
            }
            let first = rest.chars().next().map_or(0, char::len_utf8);
            let Some(found) = rest[first..].find(literal.as_str()).filter(|_| first > 0) else { return false };
            rest = &rest[first + found + literal.len()..];
            wild = false;
        }
        if wild { !rest.is_empty() } else { rest.is_empty() }
    }

    /// A capture takes what stands before the next literal; where that does not come, the rest of the line.
    pub fn process(&self, entry: &mut Entry<'_>) {
        let line = std::mem::take(&mut entry.line);
        let mut rest: &str = &line;
        let mut nodes = self.nodes.iter().peekable();
        if let Some(Node::Literal(literal)) = nodes.peek() {
            match rest.strip_prefix(literal.as_str()) {
                Some(after) => rest = after,
                None => {
                    entry.line = line;
                    return;
                }
            }
            nodes.next();
        }
        while let Some(node) = nodes.next() {
            let Node::Capture(name) = node else { continue };
            let (value, after) = match nodes.peek() {
                Some(Node::Literal(literal)) => match rest.split_once(literal.as_str()) {
                    Some((value, after)) => (value, Some(after)),
                    None => (rest, None),
                },
                _ => (rest, None),
            };
            if let Some(name) = name
                && !line.is_empty()
            {
                entry.extract(name, value.to_owned(), false);
            }
            match after {
                Some(after) => rest = after,
                None => break,
            }
        }
        entry.line = line;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_line_matches() {
        let hit = |pattern: &str, line: &str| Pattern::line_filter(pattern).unwrap().matches_whole(line);
        assert!(hit("GET <_> took <_>ms", "GET /a took 5ms") && !hit("GET <_> took <_>ms", "GET  took ms"));
        assert!(hit("abc", "abc") && !hit("abc", "abcd") && hit("", "") && !hit("", "x"));
        assert!(hit("<_>b", "aabb") && !hit("<_>b", "b") && hit("a<_>", "ab") && !hit("a<_>", "a") && hit("<_>", "é"));
        assert!(hit("<_>x<_>x", "axbx") && hit("a<b", "a<b"));
        assert!(Pattern::line_filter("<x> y").unwrap_err().contains("named captures are not allowed: found '<x>'"));
        assert!(Pattern::line_filter("<_><_>").unwrap_err().contains("consecutive capture '<_><_>'"));
    }

    #[test]
    fn parser_errors() {
        assert!(Pattern::parser("<_> x").unwrap_err().to_string().contains("at least one capture is required"));
        assert!(Pattern::parser("<a> <a>").unwrap_err().to_string().contains("duplicate capture name (a)"));
    }
}
