use super::pipeline::LabelSet;

pub struct Template;

impl Template {
    pub fn parse(_text: &str, _name: &str) -> Result<Template, String> {
        Err("templates are not available yet".into())
    }

    pub fn execute(&self, _labels: &LabelSet<'_>, _line: &str, _ts: i64) -> Result<String, String> {
        Ok(String::new())
    }
}
