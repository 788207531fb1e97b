//! The metrics of `src/telemetry`, by its text: a family without members is not exposed, so asking a process does not give all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Families by name, with what they mean. Each registration has a name, and perhaps a unit, which becomes its end.
pub fn families() -> BTreeMap<String, String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry");
    let files = fs::read_dir(directory).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let text: String = files.collect();
    let calls = text.split("registry.register").skip(1).map(|call| call.split(");").next().unwrap());
    calls
        .filter_map(|call| {
            let mut texts = call.split('"').skip(1).step_by(2);
            let (name, meaning) = (texts.next()?, texts.next()?);
            let unit = [("Unit::Bytes", "_bytes"), ("Unit::Seconds", "_seconds")].iter().find(|(unit, _)| call.contains(unit));
            Some((format!("monocle_{name}{}", unit.map_or("", |(_, end)| end)), meaning.to_owned()))
        })
        .collect()
}
