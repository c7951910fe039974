//! Holds a stage to what it said: its signature's ports, its plan's descriptions, its own byte counts.

use std::collections::BTreeMap;

use serde_json::Value;
use stage_api::{Certainty, Description, Error, Outcome, Result, Signature};

use super::super::SealedOutput;

const HELP: &str = "this is a mistake in the stage, not in the pipeline; report it to the plugin's author";

fn broken(stage: &str, what: String) -> Error {
    Error::new("broken_promise", format!("stage `{stage}` {what}")).with_help(HELP)
}

/// Port names become file names, and parts of `stage.output`.
pub(super) fn check_port_names(signature: &Signature) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let ports = signature.inputs.iter().chain(&signature.outputs);
    for port in ports {
        if port.name.is_empty() || !port.name.chars().all(plain) {
            let what = format!("has a port `{}`; a port's name is letters, digits, `_` and `-`", port.name);
            return Err(broken(&signature.id, what));
        }
    }
    Ok(())
}

/// Compares an outcome with the declared outputs and with the planned descriptions.
pub(super) fn check(
    stage: &str,
    signature: &Signature,
    promises: &BTreeMap<String, Description>,
    outcome: &Outcome,
) -> Result<()> {
    for port in &signature.outputs {
        if !outcome.outputs.contains_key(&port.name) && !port.optional {
            return Err(broken(stage, format!("returned no description of its output `{}`", port.name)));
        }
    }
    for (port, made) in &outcome.outputs {
        let declared = signature.outputs.iter().find(|p| &p.name == port);
        let declared = declared.ok_or_else(|| broken(stage, format!("made `{port}`, which it does not declare")))?;
        if made.kind != declared.kind {
            let what = format!("made `{port}` of kind `{}`; its signature says `{}`", made.kind, declared.kind);
            return Err(broken(stage, what));
        }
    }
    for (port, promised) in promises {
        let Some(made) = outcome.outputs.get(port) else {
            return Err(broken(stage, format!("planned an output `{port}` and made none")));
        };
        if let Some(difference) = difference(promised, made) {
            return Err(broken(stage, format!("planned `{port}` differently: {difference}")));
        }
    }
    Ok(())
}

/// Compares a description with the bytes on disk.
pub(super) fn check_bytes(stage: &str, port: &str, made: &Description, sealed: &SealedOutput) -> Result<()> {
    match made.bytes {
        Some(bytes) if bytes != sealed.bytes => {
            let what = format!("says that `{port}` has {bytes} bytes; it wrote {}", sealed.bytes);
            Err(broken(stage, what))
        }
        _ => Ok(()),
    }
}

fn difference(promised: &Description, made: &Description) -> Option<String> {
    match promised.certainty {
        Certainty::Exact => {
            let (promised, made) = (serde_json::to_value(promised).ok()?, serde_json::to_value(made).ok()?);
            first_difference("", &promised, &made)
        }
        Certainty::Bounded => match (promised.bytes, made.bytes) {
            _ if promised.facts != made.facts => Some(format!("planned {:?}, made {:?}", promised.facts, made.facts)),
            (Some(bound), Some(bytes)) if bytes > bound => Some(format!("at most {bound} bytes planned, {bytes} made")),
            _ => None,
        },
        Certainty::Unknown => None,
    }
}

/// The first place where two values differ, depth first.
fn first_difference(at: &str, planned: &Value, made: &Value) -> Option<String> {
    match (planned, made) {
        (Value::Object(a), Value::Object(b)) => {
            let lost = b.keys().filter(|key| !a.contains_key(*key));
            a.keys().chain(lost).find_map(|key| {
                let (x, y) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                first_difference(&format!("{at}/{key}"), x, y)
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(i, (x, y))| first_difference(&format!("{at}/{i}"), x, y))
        }
        _ if planned == made => None,
        _ => Some(format!("`{at}` was planned as {}, and is {}", short(planned), short(made))),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { text.chars().take(80).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use stage_api::Port;

    fn signature() -> Signature {
        let outputs = vec![Port::new("model", "model", ""), Port::new("notes", "report", "").optional()];
        let (id, summary) = ("s".into(), String::new());
        Signature { id, summary, revision: None, inputs: Vec::new(), outputs, params: json!({}) }
    }

    fn verdict(promised: Description, made: Description) -> Option<String> {
        let promises = BTreeMap::from([("model".to_owned(), promised)]);
        let outputs = BTreeMap::from([("model".to_owned(), made)]);
        check("s", &signature(), &promises, &Outcome { outputs, ..Outcome::default() }).err().map(|e| e.message)
    }

    #[test]
    fn an_exact_promise_binds_every_field() {
        let planned = Description::exact("model", json!({ "tensors": [{ "shape": [2, 3] }] })).with_bytes(10);
        assert_eq!(verdict(planned.clone(), planned.clone()), None);
        let made = Description::exact("model", json!({ "tensors": [{ "shape": [2, 4] }] })).with_bytes(10);
        let message = verdict(planned, made).unwrap();
        assert!(message.ends_with("`/body/tensors/0/shape/1` was planned as 3, and is 4"), "{message}");
    }

    #[test]
    fn a_bound_binds_from_above() {
        let planned = Description::unknown("model").with_certainty(Certainty::Bounded).with_bytes(10);
        assert_eq!(verdict(planned.clone(), Description::exact("model", json!(1)).with_bytes(9)), None);
        assert!(verdict(planned, Description::exact("model", json!(1)).with_bytes(11)).unwrap().contains("at most 10"));
    }

    #[test]
    fn ports_are_as_declared() {
        let outcome = |port: &str, kind: &str| {
            let outputs = BTreeMap::from([(port.to_owned(), Description::unknown(kind))]);
            check("s", &signature(), &BTreeMap::new(), &Outcome { outputs, ..Outcome::default() }).unwrap_err().message
        };
        assert!(outcome("notes", "report").contains("no description of its output `model`"));
        assert!(outcome("model", "report").contains("its signature says `model`"));
        let mut dotted = signature();
        dotted.outputs[0].name = "a.b".into();
        assert_eq!(check_port_names(&dotted).unwrap_err().code, "broken_promise");
    }
}
