//! Python's spelling of values: `repr`, `str` and `json.dumps`, which chat templates were written against.
//!
//! The templates run in transformers under CPython, so a float, a dictionary or a JSON document inside a prompt has
//! CPython's spelling, and a model has learned it. Sources: `float.__repr__` (shortest digits, exponent below 1e-4 and
//! from 1e16), `str.__repr__`, and the `json` module's `encoder.py`.

use std::fmt::Write as _;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// A value that nests deeper is refused. CPython refuses about a thousand; a stack should never be put to it.
const MAX_DEPTH: usize = 200;

fn check_depth(depth: usize) -> Result<(), Error> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    let detail = format!("a value that nests more than {MAX_DEPTH} deep cannot be written");
    Err(Error::new(ErrorKind::InvalidOperation, detail))
}

/// `str(value)`: what `{{ value }}` prints.
pub fn to_str(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(String::new()),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().to_owned()),
        _ => repr(value),
    }
}

/// `repr(value)`: how a value looks inside a printed list or dictionary.
pub fn repr(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write_repr(&mut out, value, 0)?;
    Ok(out)
}

fn write_repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    check_depth(depth)?;
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value, Spelling::Python)),
        ValueKind::String => write_str_repr(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq => write_sequence_repr(out, value, depth + 1)?,
        ValueKind::Map => write_map_repr(out, value, depth + 1)?,
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

fn write_sequence_repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    let items: Vec<Value> = value.try_iter().map(Iterator::collect).unwrap_or_default();
    let tuple = value.is_tuple();
    out.push(if tuple { '(' } else { '[' });
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_repr(out, item, depth)?;
    }
    if tuple && items.len() == 1 {
        out.push(',');
    }
    out.push(if tuple { ')' } else { ']' });
    Ok(())
}

fn write_map_repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    out.push('{');
    for (index, (key, item)) in entries(value).into_iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_repr(out, &key, depth)?;
        out.push_str(": ");
        write_repr(out, &item, depth)?;
    }
    out.push('}');
    Ok(())
}

/// Quotes a string as CPython does: single quotes unless only those occur inside, unprintable characters by code.
fn write_str_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            // Writing to a string cannot fail.
            c => drop(match c as u32 {
                code @ ..=0xff => write!(out, "\\x{code:02x}"),
                code @ ..=0xffff => write!(out, "\\u{code:04x}"),
                code => write!(out, "\\U{code:08x}"),
            }),
        }
    }
    out.push(quote);
}

/// Whether CPython prints the character as it is. Rust's table of printable characters is made from the same Unicode
/// categories; a leading letter keeps combining marks from being escaped for another reason.
fn is_printable(c: char) -> bool {
    if c == '\'' || c == '"' {
        return true;
    }
    let mut buffer = [b'a', 0, 0, 0, 0];
    let length = c.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..=length]).is_ok_and(|text| text.escape_debug().count() == 2)
}

/// Which of CPython's two spellings of numbers without a finite value is meant.
#[derive(Clone, Copy)]
enum Spelling {
    Python,
    Json,
}

fn number(value: &Value, spelling: Spelling) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(x) => float(x, spelling),
        Err(_) => value.to_string(),
    }
}

/// Shortest digits that read back as the same `f64`, laid out as `float.__repr__` does.
fn float(x: f64, spelling: Spelling) -> String {
    if !x.is_finite() {
        return match (spelling, x.is_nan(), x > 0.0) {
            (Spelling::Python, true, _) => "nan".into(),
            (Spelling::Python, false, true) => "inf".into(),
            (Spelling::Python, false, false) => "-inf".into(),
            (Spelling::Json, true, _) => "NaN".into(),
            (Spelling::Json, false, true) => "Infinity".into(),
            (Spelling::Json, false, false) => "-Infinity".into(),
        };
    }
    let scientific = format!("{x:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// The options of transformers' `tojson`, which are those of `json.dumps`.
#[derive(Debug, Default)]
pub struct JsonOptions {
    /// Escape everything outside ASCII.
    pub ensure_ascii: bool,
    /// One level's indentation; `None` puts everything on one line.
    pub indent: Option<String>,
    /// Between items, and between key and value; `None` is Python's default for the indentation.
    pub separators: Option<(String, String)>,
    /// Order keys by text.
    pub sort_keys: bool,
}

/// `json.dumps(value, …)`.
pub fn json_dumps(value: &Value, options: &JsonOptions) -> Result<String, Error> {
    let item_separator = if options.indent.is_some() { "," } else { ", " };
    let (item, key) = match &options.separators {
        Some((item, key)) => (item.as_str(), key.as_str()),
        None => (item_separator, ": "),
    };
    let mut writer = JsonWriter { out: String::new(), options, item, key };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct JsonWriter<'a> {
    out: String,
    options: &'a JsonOptions,
    item: &'a str,
    key: &'a str,
}

impl JsonWriter<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value, Spelling::Json)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Map => self.map(value, depth)?,
            ValueKind::Seq => self.sequence(value, depth)?,
            kind => {
                let detail = format!("a value of kind {kind} is not JSON serializable");
                return Err(Error::new(ErrorKind::InvalidOperation, detail));
            }
        }
        Ok(())
    }

    fn sequence(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let items: Vec<Value> = value.try_iter()?.collect();
        self.out.push('[');
        for (index, item) in items.iter().enumerate() {
            self.separate(index, depth + 1);
            self.value(item, depth + 1)?;
        }
        self.close(items.is_empty(), depth, ']');
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut pairs = Vec::new();
        for (key, item) in entries(value) {
            pairs.push((json_key(&key)?, item));
        }
        if self.options.sort_keys {
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
        }
        self.out.push('{');
        for (index, (key, item)) in pairs.iter().enumerate() {
            self.separate(index, depth + 1);
            self.string(key);
            self.out.push_str(self.key);
            self.value(item, depth + 1)?;
        }
        self.close(pairs.is_empty(), depth, '}');
        Ok(())
    }

    fn separate(&mut self, index: usize, depth: usize) {
        if index > 0 {
            self.out.push_str(self.item);
        }
        self.new_line(depth);
    }

    fn close(&mut self, empty: bool, depth: usize, bracket: char) {
        if !empty {
            self.new_line(depth);
        }
        self.out.push(bracket);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.options.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.options.ensure_ascii && !(' '..='~').contains(&c)) => self.escape(c),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            self.out.push_str(&format!("\\u{unit:04x}"));
        }
    }
}

fn json_key(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number => Ok(number(key, Spelling::Json)),
        kind => {
            let detail = format!("keys must be str, int, float, bool or None, not a value of kind {kind}");
            Err(Error::new(ErrorKind::InvalidOperation, detail))
        }
    }
}

fn entries(map: &Value) -> Vec<(Value, Value)> {
    let Some(object) = map.as_object() else { return Vec::new() };
    object.try_iter_pairs().map(Iterator::collect).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(json: &str) -> Value {
        Value::from(minijinja::value::Serde(serde_json::from_str::<serde_json::Value>(json).unwrap()))
    }

    #[test]
    fn floats_have_cpythons_layout() {
        let cases = [
            (0.1, "0.1"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e16, "1e+16"),
            (123456789012345.6, "123456789012345.6"),
            (9007199254740992.0, "9007199254740992.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
        ];
        for (x, expected) in cases {
            assert_eq!(float(x, Spelling::Python), expected);
        }
        assert_eq!(float(f64::NEG_INFINITY, Spelling::Json), "-Infinity");
    }

    #[test]
    fn containers_print_as_in_python() {
        let value = of(r#"{"a": null, "b": [true, 1.0, "it's"], "c": "\u0001é\u200b😀\n"}"#);
        assert_eq!(repr(&value).unwrap(), r#"{'a': None, 'b': [True, 1.0, "it's"], 'c': '\x01é\u200b😀\n'}"#);
    }

    #[test]
    fn depth_is_no_matter_of_the_stack() {
        let nested = |depth: usize| (0..depth).fold(Value::from(1), |inner, _| Value::from(vec![inner]));
        assert_eq!(repr(&nested(200)).unwrap().len(), 401);
        assert!(repr(&nested(201)).is_err());
        assert!(json_dumps(&nested(201), &JsonOptions::default()).is_err());
    }

    #[test]
    fn json_follows_indent_and_separators() {
        let value = of(r#"{"b": [1, {}], "a": "<é>"}"#);
        assert_eq!(json_dumps(&value, &JsonOptions::default()).unwrap(), r#"{"b": [1, {}], "a": "<é>"}"#);
        let options =
            JsonOptions { indent: Some("  ".into()), sort_keys: true, ensure_ascii: true, ..Default::default() };
        let expected = "{\n  \"a\": \"<\\u00e9>\",\n  \"b\": [\n    1,\n    {}\n  ]\n}";
        assert_eq!(json_dumps(&value, &options).unwrap(), expected);
        let compact = JsonOptions { separators: Some((",".into(), ":".into())), ..Default::default() };
        assert_eq!(json_dumps(&value, &compact).unwrap(), r#"{"b":[1,{}],"a":"<é>"}"#);
    }
}
