use crate::model::quote::unquote;

/// `{a="1", b="x"}` as a protobuf push writes a stream's labels: pairs in order, duplicates refused.
pub fn parse_labels(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut rest = text.trim().strip_prefix('{').ok_or("expected `{`")?.trim_start();
    let mut pairs: Vec<(String, String)> = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return if after.trim().is_empty() { Ok(pairs) } else { Err("text after `}`".into()) };
        }
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            return Err("expected a label name".into());
        }
        let after = after.trim_start().strip_prefix('=').ok_or("expected `=`")?.trim_start();
        let (value, after) = quoted(after)?;
        if pairs.iter().any(|(n, _)| n == name) {
            return Err(format!("duplicate label name {name:?}"));
        }
        pairs.push((name.to_owned(), value));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.starts_with('}') => {}
            None => return Err("expected `,` or `}`".into()),
        }
    }
}

/// A quoted string at the start of `text`, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')).ok_or("expected a quoted value")?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            let bytes = unquote(&text[1..at], quote).ok_or("malformed quoted value")?;
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), &text[at + 1..]));
        }
    }
    Err("unterminated quoted value".into())
}
