//! Commands of a script (contract 6.2 and 6.4).

use monocle::model::time::{MILLI, parse_prometheus_duration};

pub enum Command {
    Clear,
    Load { gap: i64, with_nhcb: bool, lines: Vec<String> },
    Eval(Box<Eval>),
}

/// Times in milliseconds.
#[derive(Clone, Copy)]
pub enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

#[derive(Default, Clone)]
pub struct Notes {
    /// Of each line: none for any text, else text or pattern.
    pub some: Vec<Option<Text>>,
    pub none: bool,
}

#[derive(Clone)]
pub enum Text {
    Exact(String),
    Pattern(String),
}

pub struct Eval {
    pub line: usize,
    pub when: When,
    pub query: String,
    pub ordered: bool,
    pub fails: Option<Option<Text>>,
    pub warnings: Notes,
    pub infos: Notes,
    pub string: Option<String>,
    pub range_vector: Option<(i64, i64, i64)>,
    pub expected: Vec<String>,
}

fn duration(text: &str) -> Result<i64, String> {
    parse_prometheus_duration(text).map(|n| n / MILLI).ok_or_else(|| format!("bad duration {text:?}"))
}

pub fn parse(text: &str) -> Result<Vec<Command>, String> {
    let lines: Vec<&str> = text.split('\n').map(str::trim).map(|l| if l.starts_with('#') { "" } else { l }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let number = at + 1;
        at += 1;
        if line.is_empty() {
            continue;
        }
        let from = at;
        if line != "clear" {
            while at < lines.len() && !lines[at].is_empty() {
                at += 1;
            }
        }
        let block: Vec<&str> = lines[from..at].to_vec();
        let word = line.split_whitespace().next().unwrap_or("");
        let error = |e: String| format!("line {number}: {e}");
        match word {
            "clear" => commands.push(Command::Clear),
            "load" | "load_with_nhcb" => {
                let gap = duration(line[word.len()..].trim()).map_err(error)?;
                let lines = block.iter().map(|l| (*l).to_owned()).collect();
                commands.push(Command::Load { gap, with_nhcb: word == "load_with_nhcb", lines });
            }
            _ if word.starts_with("eval") => commands.push(Command::Eval(Box::new(eval(number, line, &block).map_err(error)?))),
            _ => return Err(error(format!("unknown command {line:?}"))),
        }
    }
    Ok(commands)
}

fn eval(number: usize, line: &str, block: &[&str]) -> Result<Eval, String> {
    let pattern = |p: &str| regex::Regex::new(p).map_err(|e| e.to_string());
    let instant = pattern(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$")?;
    let range = pattern(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$")?;
    let text = |c: &regex::Captures<'_>, i: usize| c.get(i).map_or(String::new(), |m| m.as_str().to_owned());
    let (legacy, when, query) = if let Some(c) = instant.captures(line) {
        let at = text(&c, 2);
        (text(&c, 1), When::Instant(if at.is_empty() { 0 } else { duration(&at)? }), text(&c, 3))
    } else if let Some(c) = range.captures(line) {
        let when = When::Range { start: duration(&text(&c, 2))?, end: duration(&text(&c, 3))?, step: duration(&text(&c, 4))? };
        (text(&c, 1), when, text(&c, 5))
    } else {
        return Err(format!("bad eval {line:?}"));
    };
    let mut eval = Eval {
        line: number,
        when,
        query,
        ordered: legacy == "ordered",
        fails: (legacy == "fail").then_some(None),
        warnings: Notes::default(),
        infos: Notes::default(),
        string: None,
        range_vector: None,
        expected: Vec::new(),
    };
    match legacy.as_str() {
        "warn" => eval.warnings.some.push(None),
        "info" => eval.infos.some.push(None),
        _ => {}
    }
    for line in block {
        expectation(&mut eval, line)?;
    }
    Ok(eval)
}

fn expectation(eval: &mut Eval, line: &str) -> Result<(), String> {
    if let Some(message) = line.strip_prefix("expected_fail_message ") {
        eval.fails = Some(Some(Text::Exact(message.trim().to_owned())));
        return Ok(());
    }
    if let Some(pattern) = line.strip_prefix("expected_fail_regexp ") {
        eval.fails = Some(Some(Text::Pattern(pattern.trim().to_owned())));
        return Ok(());
    }
    let Some(rest) = line.strip_prefix("expect ") else {
        eval.expected.push(line.to_owned());
        return Ok(());
    };
    if let Some(times) = rest.strip_prefix("range vector ") {
        let words: Vec<&str> = times.split_whitespace().collect();
        let ["from", from, "to", to, "step", step] = words[..] else { return Err(format!("bad {line:?}")) };
        eval.range_vector = Some((duration(from)?, duration(to)?, duration(step)?));
        return Ok(());
    }
    if let Some(text) = rest.strip_prefix("string ") {
        let text = text.trim();
        let quote = text.chars().next().unwrap_or('"');
        let inside = &text[1..text.len() - 1];
        let bytes = monocle::model::quote::unquote(inside, quote).ok_or("bad string")?;
        eval.string = Some(String::from_utf8_lossy(&bytes).into_owned());
        return Ok(());
    }
    let (kind, detail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let detail = detail.trim();
    let text = if let Some(message) = detail.strip_prefix("msg:") {
        Some(Text::Exact(message.trim().to_owned()))
    } else {
        detail.strip_prefix("regex:").map(|p| Text::Pattern(p.trim().to_owned()))
    };
    match kind {
        "ordered" => eval.ordered = true,
        "fail" => eval.fails = Some(text),
        "warn" => eval.warnings.some.push(text),
        "no_warn" => eval.warnings.none = true,
        "info" => eval.infos.some.push(text),
        "no_info" => eval.infos.none = true,
        _ => return Err(format!("bad expectation {line:?}")),
    }
    Ok(())
}
