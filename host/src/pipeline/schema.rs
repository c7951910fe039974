//! Where in a stage's parameters a JSON Schema keyword of ours applies.

use serde_json::Value;

/// Whether a schema marks a path: resolved relative to the pipeline file, in the key by content.
pub fn is_path(schema: &Value) -> bool {
    schema.get("format").and_then(Value::as_str) == Some("path")
}

/// Whether a schema marks a parameter that can't change results.
pub fn is_execution(schema: &Value) -> bool {
    schema.get("x-execution").and_then(Value::as_bool) == Some(true)
}

/// JSON pointers of every value below `params` that has a schema with `mark`, in order.
pub fn marked(schema: &Value, params: &Value, mark: fn(&Value) -> bool) -> Vec<String> {
    let mut walk = Walk { root: schema, mark, found: Vec::new() };
    walk.value(&alternatives(schema, schema), params, String::new());
    walk.found
}

struct Walk<'a> {
    root: &'a Value,
    mark: fn(&Value) -> bool,
    found: Vec<String>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schemas: &[&'a Value], value: &Value, pointer: String) {
        if schemas.iter().any(|s| (self.mark)(s)) {
            self.found.push(pointer);
            return;
        }
        match value {
            Value::Object(fields) => {
                for (name, child) in fields {
                    let schemas = self.below(schemas, |s| s.get("properties")?.get(name));
                    self.value(&schemas, child, format!("{pointer}/{}", escaped(name)));
                }
            }
            Value::Array(items) => {
                let schemas = self.below(schemas, |s| s.get("items"));
                for (i, child) in items.iter().enumerate() {
                    self.value(&schemas, child, format!("{pointer}/{i}"));
                }
            }
            _ => {}
        }
    }

    fn below(&self, schemas: &[&'a Value], step: impl Fn(&'a Value) -> Option<&'a Value>) -> Vec<&'a Value> {
        schemas.iter().filter_map(|s| step(s)).flat_map(|s| alternatives(self.root, s)).collect()
    }
}

/// A schema with everything that it refers to or combines.
pub fn alternatives<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let mut all: Vec<&Value> = vec![schema];
    let mut next = 0;
    while next < all.len() {
        let schema = all[next];
        next += 1;
        let reference = schema.get("$ref").and_then(Value::as_str).and_then(|r| root.pointer(r.strip_prefix('#')?));
        let combined = ["allOf", "anyOf", "oneOf"].iter().filter_map(|k| schema.get(k)?.as_array()).flatten();
        for found in reference.into_iter().chain(combined) {
            // A schema may refer to itself.
            if !all.iter().any(|known| std::ptr::eq(*known, found)) {
                all.push(found);
            }
        }
    }
    all
}

/// Names of the properties that a schema declares, in order.
pub fn properties(root: &Value, schema: &Value) -> Vec<String> {
    let objects = alternatives(root, schema).into_iter().filter_map(|s| s.get("properties")?.as_object());
    objects.flat_map(|o| o.keys().cloned()).collect()
}

/// The schema of the value at `pointer`, as far as it can be followed.
pub fn at<'a>(root: &'a Value, pointer: &str) -> Vec<&'a Value> {
    let mut schemas = alternatives(root, root);
    for part in pointer.split('/').skip(1) {
        let name = part.replace("~1", "/").replace("~0", "~");
        let step = |s: &'a Value| s.get("properties").and_then(|p| p.get(&name)).or_else(|| s.get("items"));
        schemas = schemas.into_iter().filter_map(step).flat_map(|s| alternatives(root, s)).collect();
    }
    schemas
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_marks_through_references_options_and_arrays() {
        let schema = json!({
            "properties": {
                "data": {"$ref": "#/$defs/File"},
                "eval": {"anyOf": [{"$ref": "#/$defs/File"}, {"type": "null"}]},
                "files": {"type": "array", "items": {"$ref": "#/$defs/File"}},
                "inner": {"properties": {"a/b": {"format": "path"}, "threads": {"x-execution": true}}},
                "rank": {"type": "integer"},
            },
            "$defs": {"File": {"type": "string", "format": "path"}},
        });
        let params = json!({
            "data": "x", "eval": "y", "files": ["p", "q"], "inner": {"a/b": "z", "threads": 2}, "rank": 8,
        });
        let paths = marked(&schema, &params, is_path);
        assert_eq!(paths, ["/data", "/eval", "/files/0", "/files/1", "/inner/a~1b"]);
        assert_eq!(params.pointer("/inner/a~1b"), Some(&json!("z")));
        assert_eq!(marked(&schema, &params, is_execution), ["/inner/threads"]);
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"properties": {"child": {"$ref": "#"}, "file": {"format": "path"}}});
        let params = json!({"child": {"child": {"file": "x"}}});
        assert_eq!(marked(&schema, &params, is_path), ["/child/child/file"]);
    }
}
