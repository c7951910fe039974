//! Findings that every stage owes its user before it runs.

use checkpoint::adapter::ModuleShape;
use checkpoint::coverage::{coverage, respelled};
use checkpoint::stored_shape::Respelling;
use checkpoint::view::module_shapes;
use model::AdapterDescription;
use model::adapter::AdaptedModule;
use model::description::LostFact;
use stage_api::{Finding, Severity};

use crate::ModelInput;

/// Every tensor is mapped, ignored by name, or an error.
pub fn check_model(model: &ModelInput) -> Vec<Finding> {
    let description = &model.description;
    let problems = coverage(&model.reading.inventory, description.container, &description.tensors);
    let finding =
        |p: checkpoint::coverage::Finding| Finding::new(Severity::Error, p.code(), p.to_string()).with_help(p.help());
    problems.into_iter().map(finding).collect()
}

/// What is worth saying of a model's stored tensors when it is first seen: shapes other than those that they are read in.
pub fn model_notes(model: &ModelInput) -> Vec<Finding> {
    let description = &model.description;
    let all = respelled(&model.reading.inventory, description.container, &description.tensors);
    let note = |respelling: Respelling, how: &str| {
        let mut these = all.iter().filter(|tensor| tensor.respelling == respelling);
        let first = these.next()?;
        let message = format!(
            "{} tensors are stored {how}, e.g. `{}` as {:?} for {:?}: the values lie the same and are read as they are",
            1 + these.count(),
            first.name,
            first.stored,
            first.canonical
        );
        Some(Finding::new(Severity::Note, "stored_shape", message))
    };
    let notes = [
        (Respelling::Singletons, "with other dimensions of 1"),
        (Respelling::Heads, "with a dimension of heads of its own"),
    ];
    notes.into_iter().filter_map(|(respelling, how)| note(respelling, how)).collect()
}

/// What a GGUF of the model cannot say, with what llama.cpp takes for it: an error where answers change, a warning where
/// they do only beyond a bound.
pub fn lost_in_gguf(model: &ModelInput) -> Vec<Finding> {
    let finding = |lost: &LostFact| {
        let (severity, bound) = match &lost.bound {
            Some(bound) => (Severity::Warning, format!(" {bound}")),
            None => (Severity::Error, String::new()),
        };
        let message = format!(
            "a GGUF cannot carry `{} = {}`; llama.cpp assumes {}, so answers change{bound}",
            lost.fact, lost.value, lost.assumed
        );
        Finding::new(severity, "lost_in_gguf", message)
    };
    model.reading.lost_in_gguf.iter().map(finding).collect()
}

/// Every module of the adapter is one that the model has, with its shape.
pub fn check_adapter(model: &ModelInput, adapter: &AdapterDescription) -> Vec<Finding> {
    let known = module_shapes(&model.reading.inventory);
    let unfit = |(name, module): (&String, &AdaptedModule)| {
        let AdaptedModule { experts, in_features, out_features, .. } = *module;
        let got = ModuleShape { experts, in_features, out_features };
        let message = match known.get(name) {
            None => format!("the adapter changes `{name}`, which the model does not have"),
            Some(shape) if *shape != got => {
                format!("the adapter's `{name}` is for {got} features, the model's is {shape}")
            }
            Some(_) => return None,
        };
        let help = "the adapter was made for another model";
        Some(Finding::new(Severity::Error, "unfit_adapter", message).with_help(help))
    };
    adapter.modules.iter().filter_map(unfit).collect()
}
