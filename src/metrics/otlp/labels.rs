//! Labels of series from attributes (contracts/prometheus.md 3.4).

use super::TranslationConfig;
use crate::metrics::METRIC_NAME;
use crate::model::{Attribute, LabelsBuilder};

/// The label name for an attribute key; an error if nothing but underscores would be left.
pub(super) fn label_name(key: &str, config: &TranslationConfig) -> Result<String, String> {
    if key.is_empty() {
        return Err("label name is empty".to_owned());
    }
    if !config.strategy.escapes() {
        return Ok(key.to_owned());
    }
    let keep_runs = config.label_name_preserve_multiple_underscores;
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if keep_runs || !name.ends_with('_') {
            name.push('_');
        }
    }
    if !keep_runs && key.len() > 4 && key.starts_with("__") && key.ends_with("__") {
        name = format!("_{name}_");
    }
    if name.bytes().all(|b| b == b'_') {
        return Err(format!("normalization for label name {key:?} resulted in invalid name {name:?}"));
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "key_");
    } else if config.label_name_underscore_sanitization && name.starts_with('_') && !name.starts_with("__") {
        name.insert_str(0, "key");
    }
    Ok(name)
}

/// Adds the attributes of a data point; values whose keys become the same name are joined by `;` in the order of keys.
pub(super) fn add_attributes(labels: &mut LabelsBuilder, attributes: &[Attribute], config: &TranslationConfig) -> Result<(), String> {
    let mut sorted: Vec<&Attribute> = attributes.iter().filter(|a| a.key != METRIC_NAME).collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    for attribute in sorted {
        let name = label_name(&attribute.key, config)?;
        let value = attribute.value.to_text();
        let joined = labels.get(&name).map(|known| format!("{known};{value}"));
        labels.set(&name, joined.as_deref().unwrap_or(&value));
    }
    Ok(())
}

fn attribute_text(attributes: &[Attribute], key: &str) -> Option<String> {
    attributes.iter().find(|a| a.key == key).map(|a| a.value.to_text()).filter(|t| !t.is_empty())
}

/// What a resource contributes to every one of its series.
#[derive(Debug, Default)]
pub(super) struct ResourceLabels {
    pub(super) job: Option<String>,
    pub(super) instance: Option<String>,
    /// Label names and values; they never replace a label of the data point.
    promoted: Vec<(String, String)>,
}

impl ResourceLabels {
    pub(super) fn new(attributes: &[Attribute], config: &TranslationConfig) -> ResourceLabels {
        let service = attribute_text(attributes, "service.name");
        let job = match (attribute_text(attributes, "service.namespace"), service) {
            (Some(namespace), Some(name)) => Some(format!("{namespace}/{name}")),
            (_, service) => service,
        };
        let is_promoted = |key: &String| {
            if config.promote_all_resource_attributes {
                !config.ignore_resource_attributes.contains(key)
            } else {
                config.promote_resource_attributes.contains(key)
            }
        };
        let mut labels = LabelsBuilder::default();
        let chosen: Vec<Attribute> = attributes.iter().filter(|a| is_promoted(&a.key)).cloned().collect();
        // A resource attribute without a usable name is left out rather than refusing every series of the resource.
        for attribute in &chosen {
            let _ = add_attributes(&mut labels, std::slice::from_ref(attribute), config);
        }
        let promoted = labels.build().iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        ResourceLabels { job, instance: attribute_text(attributes, "service.instance.id"), promoted }
    }

    /// Labels that give way to those of a data point.
    pub(super) fn promoted(&self) -> impl Iterator<Item = (&str, &str)> {
        self.promoted.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Labels that replace those of a data point.
    pub(super) fn identity(&self) -> impl Iterator<Item = (&str, &str)> {
        [("job", &self.job), ("instance", &self.instance)].into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AttributeValue;

    #[test]
    fn label_names() {
        let config = TranslationConfig::default();
        for (key, want) in [
            ("a.b-c", "a_b_c"),
            ("_foo", "key_foo"),
            (".foo", "key_foo"),
            ("__foo", "__foo"),
            ("9a", "key_9a"),
            ("a..b", "a__b"),
            ("ü.x", "__x"),
        ] {
            assert_eq!(label_name(key, &config).unwrap(), want, "{key}");
        }
        assert!(label_name("...", &config).is_err() && label_name("", &config).is_err());
        let collapsing = TranslationConfig { label_name_preserve_multiple_underscores: false, ..TranslationConfig::default() };
        assert_eq!(label_name("a..b", &collapsing).unwrap(), "a_b");
        assert_eq!(label_name("__a__", &collapsing).unwrap(), "__a__");
    }

    #[test]
    fn colliding_attributes_are_joined_in_key_order() {
        let text = |key: &str, value: &str| Attribute::new(key, AttributeValue::String(value.into()));
        let mut labels = LabelsBuilder::default();
        add_attributes(&mut labels, &[text("a_b", "2"), text("a.b", "1"), text("__name__", "x")], &TranslationConfig::default()).unwrap();
        assert_eq!(labels.build().to_string(), r#"{a_b="1;2"}"#);
    }

    #[test]
    fn a_resource_gives_job_instance_and_promoted_labels() {
        let text = |key: &str, value: &str| Attribute::new(key, AttributeValue::String(value.into()));
        let attributes =
            [text("service.namespace", "shop"), text("service.name", "cart"), text("service.instance.id", "c-1"), text("os.type", "linux")];
        let resource = ResourceLabels::new(&attributes, &TranslationConfig::default());
        let promoted = [("service_instance_id", "c-1"), ("service_name", "cart"), ("service_namespace", "shop")];
        assert_eq!(resource.promoted().collect::<Vec<_>>(), promoted);
        assert_eq!(resource.identity().collect::<Vec<_>>(), [("job", "shop/cart"), ("instance", "c-1")]);
    }
}
