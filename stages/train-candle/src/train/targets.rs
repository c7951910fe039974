//! What gets an adapter. A name means what it means to PEFT: the whole path of a module or of a parameter, or the end of
//! it behind a dot.

use std::collections::BTreeSet;

use model::Inventory;
use model::description::Reading;
use model::inventory::{AdapterFacts, TensorSpec};

use super::error::TrainError;

/// What was chosen, and the names that PEFT finds it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Module paths.
    pub modules: BTreeSet<String>,
    /// `target_modules` of the adapter's configuration.
    pub names: Vec<String>,
    /// `target_parameters` of the adapter's configuration.
    pub parameters: Vec<String>,
}

/// A module that transformers has as a parameter.
struct Parameter<'a> {
    module: &'a str,
    /// In transformers.
    path: &'a str,
    /// In published checkpoints.
    weight: &'a str,
}

impl Targets {
    /// The linears that `modules` names, all of the layers' where `None`, and the parameters that `parameters` names.
    ///
    /// # Errors
    /// Where a name matches nothing, or nothing is named.
    pub fn choose(
        reading: &Reading,
        modules: Option<&[String]>,
        parameters: Option<&[String]>,
    ) -> Result<Self, TrainError> {
        let linears: Vec<&str> = reading.architecture.linears().iter().map(|linear| linear.module.as_str()).collect();
        let known = parameters_of(&reading.inventory);
        let chosen = chosen_linears(&linears, modules)?;
        let named = parameters.unwrap_or_default();
        check_parameters(&known, named)?;

        let (inside, outside): (Vec<&str>, Vec<&str>) =
            linears.iter().copied().partition(|linear| known.iter().any(|parameter| parameter.module == *linear));
        let is_chosen = |p: &Parameter<'_>| chosen.contains(p.module) && inside.contains(&p.module);
        let paths = known.iter().filter(|p| is_chosen(p) || named.iter().any(|name| p.is_named(name)));
        let (paths, of_parameters): (BTreeSet<&str>, Vec<&str>) = paths.map(|p| (p.path, p.module)).unzip();
        let all: BTreeSet<String> = chosen.iter().copied().chain(of_parameters).map(str::to_owned).collect();
        if all.is_empty() {
            return Err(TrainError::NoTargets);
        }
        let names: BTreeSet<&str> = match modules {
            Some(names) => names.iter().map(String::as_str).filter(|name| any(&outside, name)).collect(),
            None => outside.iter().map(|module| last_parts(module, 1)).collect(),
        };
        let names = names.into_iter().map(str::to_owned).collect();
        Ok(Self { modules: all, names, parameters: names_of(&paths, &known) })
    }
}

impl Parameter<'_> {
    fn is_named(&self, name: &str) -> bool {
        [self.path, self.weight, self.module].iter().any(|path| matches(path, name))
    }
}

fn parameters_of<'a>(inventory: &'a Inventory) -> Vec<Parameter<'a>> {
    let adapted = inventory.tensors.iter().filter_map(|spec| Some((spec, spec.adapter.as_ref()?)));
    let of = |(spec, facts): (&'a TensorSpec, &'a AdapterFacts)| {
        Some(Parameter { module: &facts.module, path: facts.parameter.as_deref()?, weight: &spec.name })
    };
    adapted.filter_map(of).collect()
}

fn chosen_linears<'a>(linears: &[&'a str], names: Option<&[String]>) -> Result<BTreeSet<&'a str>, TrainError> {
    let Some(names) = names else { return Ok(linears.iter().copied().collect()) };
    let unknown: Vec<String> = names.iter().filter(|name| !any(linears, name)).cloned().collect();
    if !unknown.is_empty() {
        let known: BTreeSet<&str> = linears.iter().map(|module| last_parts(module, 1)).collect();
        return Err(TrainError::UnknownTargets { unknown, known: known.into_iter().map(str::to_owned).collect() });
    }
    Ok(linears.iter().copied().filter(|module| names.iter().any(|name| matches(module, name))).collect())
}

fn check_parameters(known: &[Parameter<'_>], names: &[String]) -> Result<(), TrainError> {
    let is_unknown = |name: &&String| !known.iter().any(|parameter| parameter.is_named(name));
    let unknown: Vec<String> = names.iter().filter(is_unknown).cloned().collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let known: BTreeSet<&str> = known.iter().map(|parameter| last_parts(parameter.path, 2)).collect();
    Err(TrainError::UnknownParameters { unknown, known: known.into_iter().map(str::to_owned).collect() })
}

/// Names that PEFT finds exactly `paths` by: short ones, unless they would find others too.
fn names_of(paths: &BTreeSet<&str>, known: &[Parameter<'_>]) -> Vec<String> {
    let short: BTreeSet<&str> = paths.iter().map(|path| last_parts(path, 2)).collect();
    let found = known.iter().filter(|parameter| short.iter().any(|name| matches(parameter.path, name)));
    let names = if found.count() == paths.len() { &short } else { paths };
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn any(modules: &[&str], name: &str) -> bool {
    modules.iter().any(|module| matches(module, name))
}

fn matches(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The last `count` parts of a path.
fn last_parts(path: &str, count: usize) -> &str {
    path.rmatch_indices('.').nth(count - 1).map_or(path, |(dot, _)| &path[dot + 1..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tiny;

    fn choose(reading: &Reading, modules: Option<&[&str]>, parameters: &[&str]) -> Result<Targets, String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (modules, parameters) = (modules.map(owned), owned(parameters));
        Targets::choose(reading, modules.as_deref(), Some(&parameters)).map_err(|error| error.to_string())
    }

    #[test]
    fn names_choose_as_in_peft() {
        let reading = tiny::reading(64);
        let all = Targets::choose(&reading, None, None).unwrap();
        assert_eq!(all.modules.len(), 14);
        assert_eq!(all.names, ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]);
        let some = choose(&reading, Some(&["v_proj", "model.layers.1.self_attn.q_proj"]), &[]).unwrap();
        let expected =
            ["model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"];
        assert_eq!(some.modules.into_iter().collect::<Vec<_>>(), expected);
        let unknown = choose(&reading, Some(&["proj", "c_attn"]), &[]).unwrap_err();
        assert!(unknown.contains("has `proj`, `c_attn`") && unknown.contains("`q_proj`"), "{unknown}");
        let none = choose(&reading, None, &["experts.gate_up_proj"]).unwrap_err();
        assert!(none.contains("`experts.gate_up_proj`") && none.contains("it has none"), "{none}");
        assert!(choose(&reading, Some(&[]), &[]).unwrap_err().contains("nothing"));
    }

    #[test]
    fn experts_are_chosen_where_asked() {
        let reading = tiny::mixture();
        let at = |module: &str| format!("model.layers.1.block_sparse_moe.{module}");
        let all = Targets::choose(&reading, None, None).unwrap();
        assert!(all.modules.contains(&at("router.layer")) && !all.modules.contains(&at("input_linear")));
        assert_eq!(all.parameters, ["router.weight"], "transformers has no linear there");
        assert!(!all.names.iter().any(|name| name == "layer"), "{:?}", all.names);

        let both = ["experts.gate_up_proj", "experts.down_proj"];
        let spellings =
            [both, ["input_linear", "block_sparse_moe.output_linear"], ["input_linear.weight", "down_proj"]];
        for spelling in spellings {
            let experts = choose(&reading, Some(&[]), &spelling).unwrap();
            assert_eq!(experts.modules, BTreeSet::from([at("input_linear"), at("output_linear")]), "{spelling:?}");
            assert_eq!((experts.names.len(), experts.parameters), (0, vec![both[1].into(), both[0].into()]));
        }
        let unknown = choose(&reading, None, &["experts.w1"]).unwrap_err();
        assert!(unknown.contains("`experts.down_proj`, `experts.gate_up_proj`, `router.weight`"), "{unknown}");
    }
}
