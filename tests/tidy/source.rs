//! Rust sources cut into tokens: enough of the language's lexical grammar to know code from comments, strings and tests.

use std::fs;
use std::path::Path;

/// A word (also a number), `::`, or one other character.
pub struct Token {
    pub line: usize,
    pub text: String,
}

pub struct Source {
    /// From the root of the project, such as `src/logs/mod.rs`.
    pub path: String,
    pub text: String,
    /// Code without comments and without the contents of strings.
    pub all: Vec<Token>,
    /// The same outside tests.
    pub live: Vec<Token>,
    /// Modules that exist in tests only and have files of their own: their paths without `.rs`.
    pub test_modules: Vec<String>,
}

impl Source {
    pub fn new(path: &str, text: &str, only_tests: bool) -> Source {
        let (live, tests) = if only_tests { Default::default() } else { without_tests(tokens(text)) };
        let directory = path.strip_suffix("/mod.rs").or(path.strip_suffix("/lib.rs")).or(path.strip_suffix(".rs")).unwrap_or(path);
        let test_modules = tests.into_iter().map(|name| format!("{directory}/{name}")).collect();
        Source { path: path.to_owned(), text: text.to_owned(), all: tokens(text), live, test_modules }
    }
}

/// Every file of `src/`, sorted by path.
pub fn read_all(root: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    find(&root.join("src"), &mut paths);
    paths.sort();
    let read = |path: &String, only_tests| {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let path = Path::new(path).strip_prefix(root).unwrap();
        Source::new(path.to_str().unwrap(), &text, only_tests)
    };
    let sources: Vec<Source> = paths.iter().map(|path| read(path, false)).collect();
    let test_modules: Vec<&String> = sources.iter().flat_map(|s| &s.test_modules).collect();
    let is_test = |s: &Source| {
        test_modules.iter().any(|m| s.path.strip_prefix(m.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/')))
    };
    paths.iter().zip(&sources).map(|(path, source)| read(path, is_test(source))).collect()
}

fn find(directory: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, paths);
        } else if path.extension().is_some_and(|e| e == "rs") {
            paths.push(path.to_str().unwrap().to_owned());
        }
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let end = match skipped(&chars, at) {
            Some(end) => end,
            None => {
                let end = token_end(&chars, at);
                if !chars[at].is_whitespace() {
                    tokens.push(Token { line, text: chars[at..end].iter().collect() });
                }
                end
            }
        };
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn token_end(chars: &[char], at: usize) -> usize {
    if is_word(chars[at]) {
        return at + chars[at..].iter().take_while(|c| is_word(**c)).count();
    }
    if chars[at..].starts_with(&[':', ':']) { at + 2 } else { at + 1 }
}

/// The end of the comment, string, character or lifetime tick that begins at `at`, if one does.
fn skipped(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    let end = match rest[0] {
        '/' if rest.get(1) == Some(&'/') => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        '/' if rest.get(1) == Some(&'*') => block_comment(rest),
        '"' => 1 + quoted(&rest[1..], '"'),
        '\'' if rest.get(1) == Some(&'\\') || rest.get(2) == Some(&'\'') => 1 + quoted(&rest[1..], '\''),
        '\'' => 1,
        'r' | 'b' | 'c' if at == 0 || !is_word(chars[at - 1]) => prefixed(rest)?,
        _ => return None,
    };
    Some(at + end)
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length up to and with the closing mark.
fn quoted(rest: &[char], mark: char) -> usize {
    let mut at = 0;
    while at < rest.len() && rest[at] != mark {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `b"…"`, `b'…'`, `c"…"`, `r"…"`, `br#"…"#` and so on.
fn prefixed(rest: &[char]) -> Option<usize> {
    let prefix = rest.iter().take_while(|c| is_word(**c)).collect::<String>();
    let at = prefix.len();
    if prefix == "b" || prefix == "c" {
        return match rest.get(at)? {
            mark @ ('"' | '\'') => Some(at + 1 + quoted(&rest[at + 1..], *mark)),
            _ => None,
        };
    }
    if !["r", "br", "cr"].contains(&prefix.as_str()) {
        return None;
    }
    let hashes = rest[at..].iter().take_while(|c| **c == '#').count();
    let start = at + hashes + 1;
    if rest.get(start - 1) != Some(&'"') {
        return None;
    }
    let closing = [&['"'][..], &vec!['#'; hashes][..]].concat();
    let length = rest[start..].windows(closing.len()).position(|w| w == closing)?;
    Some(start + length + closing.len())
}

/// The tokens outside tests, and the names of test modules that have files of their own.
fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    let mut live = Vec::new();
    let mut modules = Vec::new();
    let texts: Vec<String> = tokens.iter().map(|t| t.text.clone()).collect();
    let mut skip_to = 0;
    for (at, token) in tokens.into_iter().enumerate() {
        if at < skip_to {
            continue;
        }
        match test_item(&texts[at..]) {
            Some(length) => {
                let item = &texts[at..at + length];
                if let [.., word, name, end] = item
                    && word == "mod"
                    && end == ";"
                {
                    modules.push(name.clone());
                }
                skip_to = at + length;
            }
            None => live.push(token),
        }
    }
    (live, modules)
}

/// The length of the item at the start of `texts`, if an attribute makes it a test's.
fn test_item(texts: &[String]) -> Option<usize> {
    let mut at = attribute(texts)?;
    let words = &texts[..at];
    let has = |word: &str| words.iter().any(|w| w == word);
    if !has("test") || has("not") {
        return None;
    }
    while let Some(more) = attribute(&texts[at..]) {
        at += more;
    }
    let mut depth = 0;
    while at < texts.len() {
        match texts[at].as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            ";" if depth == 0 => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    Some(at)
}

/// The length of an outer attribute at the start of `texts`.
fn attribute(texts: &[String]) -> Option<usize> {
    if texts.first()? != "#" || texts.get(1)? != "[" {
        return None;
    }
    let mut depth = 0;
    for (at, text) in texts.iter().enumerate().skip(1) {
        match text.as_str() {
            "[" => depth += 1,
            "]" if depth == 1 => return Some(at + 1),
            "]" => depth -= 1,
            _ => {}
        }
    }
    None
}
