//! Relabelling, with all actions of Prometheus's `relabel_config`. Source: prometheus.io "Configuration", relabel_config.

use super::fields::Fields;
use crate::model::LabelsBuilder;
use crate::model::regexp::compile_anchored;
use md5::{Digest, Md5};
use regex::Regex;
use std::borrow::Cow;

/// One step, checked.
#[derive(Debug, Clone)]
pub struct Rule {
    source_labels: Vec<String>,
    separator: String,
    regex: Regex,
    modulus: u64,
    target_label: String,
    replacement: String,
    action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    Lowercase,
    Uppercase,
    LabelMap,
    LabelDrop,
    LabelKeep,
}

impl Action {
    const ALL: [(&'static str, Action); 11] = [
        ("replace", Action::Replace),
        ("keep", Action::Keep),
        ("drop", Action::Drop),
        ("keepequal", Action::KeepEqual),
        ("dropequal", Action::DropEqual),
        ("hashmod", Action::HashMod),
        ("lowercase", Action::Lowercase),
        ("uppercase", Action::Uppercase),
        ("labelmap", Action::LabelMap),
        ("labeldrop", Action::LabelDrop),
        ("labelkeep", Action::LabelKeep),
    ];
}

impl Action {
    fn parse(word: &str) -> Option<Action> {
        Action::ALL.iter().find(|(name, _)| *name == word).map(|(_, action)| *action)
    }
}

/// A step as the user wrote it.
struct Said {
    action: String,
    regex: Option<String>,
    source_labels: Option<Vec<String>>,
    separator: Option<String>,
    modulus: Option<u64>,
    replacement: Option<String>,
    target_label: Option<String>,
}

impl Said {
    /// What does not go together.
    fn mistakes(&self) -> Vec<String> {
        let word = &self.action;
        let Some(action) = Action::parse(word) else { return vec![format!("unknown relabel action {word:?}")] };
        let mut mistakes = Vec::new();
        let has_target = self.target_label.as_ref().is_some_and(|label| !label.is_empty());
        let fixed = self.separator.is_some() || self.modulus.is_some() || self.replacement.is_some();
        match action {
            Action::LabelDrop | Action::LabelKeep if fixed || self.source_labels.is_some() || has_target => {
                mistakes.push(format!("{word} action requires only 'regex', and no other fields"));
            }
            Action::KeepEqual | Action::DropEqual if fixed || self.regex.is_some() => {
                mistakes.push(format!("{word} action requires only 'source_labels' and 'target_label', and no other fields"));
            }
            _ => {}
        }
        let any_target = [Action::Keep, Action::Drop, Action::LabelMap, Action::LabelDrop, Action::LabelKeep];
        if !has_target && !any_target.contains(&action) {
            mistakes.push(format!("relabel configuration for {word} action requires 'target_label' value"));
        }
        if action == Action::HashMod && self.modulus.unwrap_or(0) == 0 {
            mistakes.push("relabel configuration for hashmod requires non-zero modulus".to_owned());
        }
        mistakes
    }
}

const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

impl Rule {
    /// From one table; mistakes are told through `fields`.
    pub(super) fn read(mut fields: Fields<'_>) -> Option<Rule> {
        let said = Said {
            action: fields.take::<String>("action").map_or_else(|| "replace".to_owned(), |w| w.to_lowercase()),
            regex: fields.take("regex"),
            source_labels: fields.take("source_labels"),
            separator: fields.take("separator"),
            modulus: fields.take("modulus"),
            replacement: fields.take("replacement"),
            target_label: fields.take("target_label"),
        };
        said.mistakes().into_iter().for_each(|mistake| fields.mistake(mistake));
        let regex = compile_anchored(said.regex.as_deref().unwrap_or(DEFAULT_REGEX));
        let regex = regex.map_err(|error| fields.mistake(format!("regex: {error}"))).ok();
        fields.finish();
        Some(Rule {
            action: Action::parse(&said.action)?,
            source_labels: said.source_labels.unwrap_or_default(),
            separator: said.separator.unwrap_or_else(|| ";".to_owned()),
            regex: regex?,
            modulus: said.modulus.filter(|modulus| *modulus > 0).unwrap_or(1),
            target_label: said.target_label.unwrap_or_default(),
            replacement: said.replacement.unwrap_or_else(|| DEFAULT_REPLACEMENT.to_owned()),
        })
    }

    /// Whether the label set stays.
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let source = self.source(labels);
        match self.action {
            Action::Keep => return self.regex.is_match(&source),
            Action::Drop => return !self.regex.is_match(&source),
            Action::KeepEqual => return labels.get(&self.target_label).unwrap_or("") == source,
            Action::DropEqual => return labels.get(&self.target_label).unwrap_or("") != source,
            Action::Replace => self.replace(&source, labels),
            Action::Lowercase => {
                labels.set(&self.target_label, &source.to_lowercase());
            }
            Action::Uppercase => {
                labels.set(&self.target_label, &source.to_uppercase());
            }
            Action::HashMod => {
                let digest = Md5::digest(source.as_bytes());
                let tail = digest[8..].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
                labels.set(&self.target_label, &(tail % self.modulus).to_string());
            }
            Action::LabelMap => {
                let mapped: Vec<(String, String)> = labels
                    .iter()
                    .filter(|(name, _)| self.regex.is_match(name))
                    .map(|(name, value)| (self.regex.replace(name, &self.replacement).into_owned(), value.to_owned()))
                    .collect();
                for (name, value) in mapped {
                    labels.set(&name, &value);
                }
            }
            Action::LabelDrop => self.without(labels, true),
            Action::LabelKeep => self.without(labels, false),
        }
        true
    }

    fn source(&self, labels: &LabelsBuilder) -> String {
        let values: Vec<&str> = self.source_labels.iter().map(|name| labels.get(name).unwrap_or("")).collect();
        values.join(&self.separator)
    }

    /// Nothing happens where the pattern does not match; an empty value removes the label.
    fn replace(&self, source: &str, labels: &mut LabelsBuilder) {
        let Some(found) = self.regex.captures(source) else { return };
        let expand = |template: &str| {
            let mut out = String::new();
            found.expand(template, &mut out);
            out
        };
        let target: Cow<'_, str> =
            if self.target_label.contains('$') { expand(&self.target_label).into() } else { self.target_label.as_str().into() };
        if !target.is_empty() {
            labels.set(&target, &expand(&self.replacement));
        }
    }

    /// Removes the labels whose names match, or those whose names do not.
    fn without(&self, labels: &mut LabelsBuilder, matching: bool) {
        let gone: Vec<String> = labels.iter().filter(|(n, _)| self.regex.is_match(n) == matching).map(|(n, _)| n.to_owned()).collect();
        for name in gone {
            labels.remove(&name);
        }
    }
}

/// Takes all steps in their order; `false` as soon as one drops the label set.
pub(super) fn relabel(rules: &[Rule], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use serde_json::{Value, json};

    fn rules(tables: Value) -> Vec<Rule> {
        let mut mistakes = Vec::new();
        let rules = Fields::of("test", json!({ "rules": tables }), &mut mistakes).tables("rules", Rule::read);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        rules.into_iter().flatten().collect()
    }

    /// `None` if the label set is dropped.
    fn after(tables: Value, labels: &[(&str, &str)]) -> Option<String> {
        let mut labels = Labels::from_pairs(labels.iter().copied()).to_builder();
        relabel(&rules(tables), &mut labels).then(|| labels.build().to_string())
    }

    #[test]
    fn every_action() {
        let given = [("a", "foo"), ("b", "bar"), ("c", "baz")];
        for (rule, want) in [
            (
                json!({"source_labels": ["a"], "regex": "f(.*)", "target_label": "d", "replacement": "ch${1}-ch$1"}),
                Some(r#"{a="foo", b="bar", c="baz", d="choo-choo"}"#),
            ),
            (
                json!({"source_labels": ["a", "b"], "regex": "f(.*);(.*)r", "target_label": "a", "replacement": "b${1}${2}m"}),
                Some(r#"{a="boobam", b="bar", c="baz"}"#),
            ),
            (
                json!({"source_labels": ["a", "b"], "separator": "-", "target_label": "d"}),
                Some(r#"{a="foo", b="bar", c="baz", d="foo-bar"}"#),
            ),
            // Without a match nothing changes, though the replacement names no group.
            (
                json!({"source_labels": ["a"], "regex": "no", "target_label": "a", "replacement": "x"}),
                Some(r#"{a="foo", b="bar", c="baz"}"#),
            ),
            (json!({"source_labels": ["a"], "regex": "foo", "target_label": "b", "replacement": ""}), Some(r#"{a="foo", c="baz"}"#)),
            (
                json!({"source_labels": ["a"], "regex": "(f).*", "target_label": "${1}_x", "replacement": "1"}),
                Some(r#"{a="foo", b="bar", c="baz", f_x="1"}"#),
            ),
            (json!({"target_label": "d", "replacement": "fixed"}), Some(r#"{a="foo", b="bar", c="baz", d="fixed"}"#)),
            (json!({"action": "drop", "source_labels": ["a"], "regex": ".*o.*"}), None),
            (json!({"action": "drop", "source_labels": ["a"], "regex": "o"}), Some(r#"{a="foo", b="bar", c="baz"}"#)),
            (json!({"action": "keep", "source_labels": ["a"], "regex": "no"}), None),
            (json!({"action": "keepequal", "source_labels": ["a"], "target_label": "b"}), None),
            (json!({"action": "dropequal", "source_labels": ["a"], "target_label": "a"}), None),
            (json!({"action": "dropequal", "source_labels": ["a"], "target_label": "b"}), Some(r#"{a="foo", b="bar", c="baz"}"#)),
            // md5("bar"), its last eight bytes as a number, modulo 1000.
            (
                json!({"action": "hashmod", "source_labels": ["b"], "target_label": "d", "modulus": 1000}),
                Some(r#"{a="foo", b="bar", c="baz", d="922"}"#),
            ),
            (json!({"action": "Uppercase", "source_labels": ["a"], "target_label": "a"}), Some(r#"{a="FOO", b="bar", c="baz"}"#)),
            (
                json!({"action": "labelmap", "regex": "(a|b)", "replacement": "meta_$1"}),
                Some(r#"{a="foo", b="bar", c="baz", meta_a="foo", meta_b="bar"}"#),
            ),
            (json!({"action": "labeldrop", "regex": "a|c"}), Some(r#"{b="bar"}"#)),
            (json!({"action": "labelkeep", "regex": "a"}), Some(r#"{a="foo"}"#)),
        ] {
            assert_eq!(after(json!([rule]), &given).as_deref(), want, "{rule}");
        }
        let lower = after(json!([{"action": "lowercase", "source_labels": ["x"], "target_label": "x"}]), &[("x", "FoO")]);
        assert_eq!(lower.as_deref(), Some(r#"{x="foo"}"#));
    }

    #[test]
    fn steps_follow_each_other() {
        let tables = json!([
            {"source_labels": ["a"], "regex": "(.*)", "target_label": "tmp", "replacement": "$1:80"},
            {"source_labels": ["tmp"], "target_label": "b"},
            {"action": "labeldrop", "regex": "tmp"},
        ]);
        assert_eq!(after(tables, &[("a", "h")]).as_deref(), Some(r#"{a="h", b="h:80"}"#));
    }

    #[test]
    fn all_mistakes_of_all_steps_are_told() {
        let mut mistakes = Vec::new();
        let tables = json!({ "rules": [
            {"action": "replace"},
            {"action": "hashmod", "target_label": "x"},
            {"action": "labeldrop", "regex": "x", "target_label": "y"},
            {"action": "keepequal", "source_labels": ["a"], "target_label": "b", "regex": "c"},
            {"action": "remove"},
            {"regex": "(", "target_label": "x", "sources": 1},
            {"source_labels": "a", "target_label": "x"},
            "text",
        ]});
        Fields::of("job", tables, &mut mistakes).tables("rules", Rule::read);
        let text = mistakes.join("\n");
        for word in [
            "job: rules[0]: relabel configuration for replace action requires 'target_label' value",
            "rules[1]: relabel configuration for hashmod requires non-zero modulus",
            "rules[2]: labeldrop action requires only 'regex'",
            "rules[3]: keepequal action requires only",
            "rules[4]: unknown relabel action \"remove\"",
            "rules[5]: regex: error parsing regexp: missing closing )",
            "rules[5]: unknown key \"sources\"",
            "rules[6]: source_labels: invalid type",
            "rules[7]: expected a table",
        ] {
            assert!(text.contains(word), "{word} in\n{text}");
        }
    }
}
