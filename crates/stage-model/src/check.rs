//! Findings that every stage owes its user before it runs.

use std::collections::BTreeMap;

use checkpoint::adapter::ModuleShape;
use checkpoint::coverage::coverage;
use model::AdapterDescription;
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

/// Every module of the adapter is a linear of the model, with its shape.
pub fn check_adapter(model: &ModelInput, adapter: &AdapterDescription) -> Vec<Finding> {
    let linears = model.reading.architecture.linears();
    let known: BTreeMap<&str, ModuleShape> = linears
        .into_iter()
        .map(|l| (l.module.as_str(), ModuleShape { in_features: l.in_features, out_features: l.out_features }))
        .collect();
    let stacked = model.reading.architecture.stacked();
    let mut findings = Vec::new();
    for (name, module) in &adapter.modules {
        let message = match known.get(name.as_str()) {
            None if stacked.iter().any(|l| l.module == *name) => {
                let message = format!("the adapter changes the experts `{name}`, which are only read frozen");
                let help = "train adapters of attention, shared networks and routers";
                findings.push(Finding::new(Severity::Error, "adapted_experts", message).with_help(help));
                continue;
            }
            None => format!("the adapter changes `{name}`, which the model does not have"),
            Some(shape) if (shape.in_features, shape.out_features) != (module.in_features, module.out_features) => {
                format!(
                    "the adapter's `{name}` is for {} → {} features, the model's is {} → {}",
                    module.in_features, module.out_features, shape.in_features, shape.out_features
                )
            }
            Some(_) => continue,
        };
        let help = "the adapter was made for another model";
        findings.push(Finding::new(Severity::Error, "unfit_adapter", message).with_help(help));
    }
    findings
}
