//! Which linears get an adapter. A name means what it means to PEFT: the whole module path, or its end behind a dot.

use std::collections::BTreeSet;

use model::Architecture;

use super::error::TrainError;

/// The chosen linears, and the names that PEFT finds them by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Module paths.
    pub modules: BTreeSet<String>,
    /// `target_modules` of the adapter's configuration.
    pub names: Vec<String>,
}

impl Targets {
    /// The linears of these names; all of the layers' where `None`.
    ///
    /// # Errors
    /// Where a name matches none.
    pub fn choose(architecture: &Architecture, names: Option<&[String]>) -> Result<Self, TrainError> {
        let linears = architecture.linears();
        let modules = || linears.iter().map(|linear| linear.module.as_str());
        let known: BTreeSet<String> = modules().map(|module| last_part(module).to_owned()).collect();
        let Some(names) = names else {
            return Ok(Self { modules: modules().map(str::to_owned).collect(), names: known.into_iter().collect() });
        };
        let unknown: Vec<String> =
            names.iter().filter(|name| !modules().any(|module| matches(module, name))).cloned().collect();
        if !unknown.is_empty() {
            return Err(TrainError::UnknownTargets { unknown, known: known.into_iter().collect() });
        }
        let chosen = modules().filter(|module| names.iter().any(|name| matches(module, name)));
        let sorted: BTreeSet<String> = names.iter().cloned().collect();
        Ok(Self { modules: chosen.map(str::to_owned).collect(), names: sorted.into_iter().collect() })
    }
}

fn matches(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn last_part(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_choose_as_in_peft() {
        let architecture = crate::tiny::architecture();
        let all = Targets::choose(&architecture, None).unwrap();
        assert_eq!(all.modules.len(), 14);
        assert_eq!(all.names, ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]);
        let some = ["v_proj", "model.layers.1.self_attn.q_proj"].map(str::to_owned);
        let some = Targets::choose(&architecture, Some(&some)).unwrap();
        let expected =
            ["model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"];
        assert_eq!(some.modules.into_iter().collect::<Vec<_>>(), expected);
        let unknown = Targets::choose(&architecture, Some(&["proj".into(), "c_attn".into()])).unwrap_err().to_string();
        assert!(unknown.contains("has `proj`, `c_attn`") && unknown.contains("`q_proj`"), "{unknown}");
    }
}
