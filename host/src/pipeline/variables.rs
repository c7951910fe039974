//! `${x}` in strings: alone it becomes the variable's value with its type, inside text it becomes text; `$${` stands
//! for `${` itself.

use super::node::{Node, Table, Value};
use super::problem::Problem;
use super::source::{Located, Span};

/// Replaces variables everywhere below `table`, keys aside.
///
/// `later` are names that are known but have no value yet (`[matrix]`); strings that use them stay as they are.
pub fn substitute(table: &mut Table, vars: &Table, later: &[String], problems: &mut Vec<Located<Problem>>) {
    for entry in &mut table.0 {
        substitute_node(&mut entry.node, vars, later, problems);
    }
}

fn substitute_node(node: &mut Node, vars: &Table, later: &[String], problems: &mut Vec<Located<Problem>>) {
    match &mut node.value {
        Value::Table(table) => substitute(table, vars, later, problems),
        Value::Array(items) => items.iter_mut().for_each(|n| substitute_node(n, vars, later, problems)),
        Value::String(text) => match replaced(text, &node.span, vars, later) {
            Ok(new) => *node = new,
            Err(problem) => problems.push(Located::new(problem, node.span.clone())),
        },
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn replaced(text: &str, span: &Span, vars: &Table, later: &[String]) -> Result<Node, Problem> {
    let pieces = pieces(text)?;
    // The value's own place is the better one to point at: it may be a flag.
    if let [Piece::Variable(name)] = pieces.as_slice() {
        if later.iter().any(|l| l == name) {
            return Ok(Node::new(Value::String(text.into()), span.clone()));
        }
        return Ok(lookup(name, vars, later)?.clone());
    }
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out += text,
            Piece::Variable(name) if later.iter().any(|l| l == name) => out += &format!("${{{name}}}"),
            Piece::Variable(name) => match &lookup(name, vars, later)?.value {
                Value::String(s) | Value::Datetime(s) => out += s,
                Value::Integer(i) => out += &i.to_string(),
                Value::Float(f) => out += &f.to_string(),
                Value::Boolean(b) => out += &b.to_string(),
                other => return Err(Problem::VariableInText { name: name.into(), got: other.type_name() }),
            },
        }
    }
    Ok(Node::new(Value::String(out), span.clone()))
}

fn lookup<'a>(name: &str, vars: &'a Table, later: &[String]) -> Result<&'a Node, Problem> {
    vars.get(name).map(|e| &e.node).ok_or_else(|| {
        let known = vars.keys().into_iter().chain(later.iter().cloned()).collect();
        Problem::UnknownVariable { name: name.into(), known }
    })
}

/// Reports variables inside the values of `[vars]`, which are not looked into.
pub fn refuse_nested(vars: &Table, problems: &mut Vec<Located<Problem>>) {
    for entry in &vars.0 {
        let Value::String(text) = &entry.node.value else { continue };
        if pieces(text).is_ok_and(|p| p.iter().any(|p| matches!(p, Piece::Variable(_)))) {
            problems.push(Located::new(Problem::VariableInVariable, entry.node.span.clone()));
        }
    }
}

#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Problem> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            pieces.push(Piece::Text(&rest[..at - 1]));
            pieces.push(Piece::Text("${"));
            rest = &rest[at + 2..];
            continue;
        }
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        let end = rest[at..].find('}').ok_or(Problem::OpenVariable)? + at;
        pieces.push(Piece::Variable(rest[at + 2..end].trim()));
        rest = &rest[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use toml::de::DeTable;

    use super::*;

    fn table(text: &str) -> Table {
        Table::from_toml(DeTable::parse(text).unwrap().into_inner(), 0)
    }

    fn check(text: &str, vars: &str) -> Result<serde_json::Value, Problem> {
        let span = Span { source: 0, range: 0..0 };
        replaced(text, &span, &table(vars), &["axis".into()]).map(|n| n.value.to_json())
    }

    #[test]
    fn alone_keeps_its_type() {
        assert_eq!(check("${n}", "n = 8"), Ok(8.into()));
        assert_eq!(check("${a}", "a = [1, 2]"), Ok(serde_json::json!([1, 2])));
    }

    #[test]
    fn inside_text_becomes_text() {
        assert_eq!(check("data/${n}-${s}.jsonl", "n = 8\ns = 'x'"), Ok("data/8-x.jsonl".into()));
        let got = check("data/${a}", "a = [1]");
        assert_eq!(got, Err(Problem::VariableInText { name: "a".into(), got: "an array" }));
    }

    #[test]
    fn escapes_and_faults() {
        assert_eq!(check("$${n} costs $5", "n = 8"), Ok("${n} costs $5".into()));
        assert_eq!(check("a ${n", "n = 8"), Err(Problem::OpenVariable));
        let known = vec!["n".to_owned(), "axis".to_owned()];
        assert_eq!(check("${m}", "n = 8"), Err(Problem::UnknownVariable { name: "m".into(), known }));
        assert_eq!(check("${axis}", ""), Ok("${axis}".into()));
    }
}
