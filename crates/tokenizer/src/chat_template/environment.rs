//! minijinja made to behave like the jinja2 environment in which transformers runs chat templates.
//!
//! Mirrors `_cached_compile_jinja_template` of transformers' `utils/chat_template_utils.py`: `trim_blocks`,
//! `lstrip_blocks`, loop controls, no HTML escaping, `tojson` as `json.dumps`, `raise_exception`. What differs
//! between the two engines is replaced here: printing, and what Python's own types do in tests and methods.

use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};

use super::generation;
use super::python::{self, JsonOptions};

/// Instructions after which a template is taken for an endless loop. A chat of a thousand turns needs some 10⁵.
const FUEL: u64 = 50_000_000;

/// The one template's name in its environment.
pub const TEMPLATE: &str = "chat_template";

/// Whether `{% generation %}` blocks leave marks in the rendered text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// The text alone, as a model sees it.
    Off,
    /// Each block's text between two marks, see [`generation`].
    On,
}

/// Compiles `source` into an environment of its own.
pub fn build(source: &str, marks: Marks) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(|out, _, value| Ok(out.write_str(&python::to_str(value)?)?));
    environment.set_unknown_method_callback(python_method);
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", to_json);
    environment.add_filter("string", |value: Value| python::to_str(&value));
    environment.add_filter("trim", trim);
    environment.add_filter(generation::FILTER, move |body: Value| match marks {
        Marks::Off => body.to_string(),
        Marks::On => format!("{}{body}{}", generation::START, generation::END),
    });
    // To Python a string is a sequence too, and so is a dictionary for jinja2's test.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined)
    });
    environment.add_test("iterable", |value: &Value| {
        value.kind() == ValueKind::String || (!value.is_none() && value.try_iter().is_ok())
    });
    environment.add_template_owned(TEMPLATE, generation::replace_tags(source).into_owned())?;
    Ok(environment)
}

/// The template's own refusal, carried through minijinja's error as its source.
#[derive(Debug)]
pub struct Raised(pub String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn raise_exception(message: Value) -> Result<Value, Error> {
    let message = python::to_str(&message)?;
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

/// `tojson(x, ensure_ascii=False, indent=None, separators=None, *, sort_keys=False)`.
fn to_json(
    value: Value,
    ensure_ascii: Option<bool>,
    indent: Option<Value>,
    separators: Option<Value>,
    named: Kwargs,
) -> Result<String, Error> {
    let options = JsonOptions {
        ensure_ascii: named.get::<Option<bool>>("ensure_ascii")?.or(ensure_ascii).unwrap_or(false),
        indent: indentation(named.get::<Option<Value>>("indent")?.or(indent))?,
        separators: separator_pair(named.get::<Option<Value>>("separators")?.or(separators))?,
        sort_keys: named.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    named.assert_all_used()?;
    python::json_dumps(&value, &options)
}

/// Python takes a number of spaces or the text itself.
fn indentation(indent: Option<Value>) -> Result<Option<String>, Error> {
    const WIDEST: usize = 64;
    let Some(indent) = indent.filter(|value| !value.is_none() && !value.is_undefined()) else { return Ok(None) };
    if let Some(text) = indent.as_str() {
        return Ok(Some(text.to_owned()));
    }
    let width = usize::try_from(indent).unwrap_or(0);
    if width > WIDEST {
        let detail = format!("tojson: an indent of {width} is more than {WIDEST}");
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    Ok(Some(" ".repeat(width)))
}

fn separator_pair(separators: Option<Value>) -> Result<Option<(String, String)>, Error> {
    let Some(separators) = separators.filter(|value| !value.is_none() && !value.is_undefined()) else {
        return Ok(None);
    };
    let parts: Vec<Value> = separators.try_iter()?.collect();
    match parts.as_slice() {
        [item, key] => Ok(Some((python::to_str(item)?, python::to_str(key)?))),
        _ => Err(Error::new(ErrorKind::InvalidOperation, "tojson: separators must be a pair")),
    }
}

/// jinja2's `trim`: `str.strip` with its optional set of characters.
fn trim(value: Value, characters: Option<String>) -> Result<String, Error> {
    Ok(strip(&python::to_str(&value)?, characters.as_deref(), Sides::Both))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sides {
    Both,
    Left,
    Right,
}

fn strip(text: &str, characters: Option<&str>, sides: Sides) -> String {
    let dropped = |c: char| characters.map_or_else(|| is_python_space(c), |set| set.contains(c));
    let mut rest = text;
    if sides != Sides::Right {
        rest = rest.trim_start_matches(dropped);
    }
    if sides != Sides::Left {
        rest = rest.trim_end_matches(dropped);
    }
    rest.to_owned()
}

/// Python counts the four ASCII information separators as white space; Unicode, and so Rust, does not.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Methods of Python's types: the few whose idea of white space differs, and the rest from minijinja's own set.
fn python_method(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let sides = match method {
            "strip" => Some(Sides::Both),
            "lstrip" => Some(Sides::Left),
            "rstrip" => Some(Sides::Right),
            _ => None,
        };
        if let Some(sides) = sides {
            let (characters,): (Option<String>,) = from_args(arguments)?;
            return Ok(Value::from(strip(text, characters.as_deref(), sides)));
        }
        if method == "split" && arguments.is_empty() {
            let words = text.split(is_python_space).filter(|word| !word.is_empty());
            return Ok(words.map(Value::from).collect());
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
}
