//! One text for one JSON value: keys sorted, no blanks, numbers as serde_json writes them.

use serde_json::Value;

/// The canonical text of `value`.
pub fn text(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            let parts = names.into_iter().map(|n| format!("{}:{}", Value::from(n.as_str()), text(&fields[n])));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}
