//! What the host itself finds out about a plan: port constraints, memory, disk.

use std::collections::BTreeMap;

use stage_api::{Estimate, Finding, Input, Severity};

use super::disks::DiskUse;
use crate::pipeline::{OutputRef, ResolvedStage};
use crate::report::bytes;

/// Says so where a stage left out an output that another one needs.
pub fn not_made(from: &OutputRef) -> Finding {
    let message = format!("`{}` made no output `{}`", from.stage, from.output);
    Finding::new(Severity::Error, "not_made", message)
}

/// Facts that a port demands and a description does not have.
pub fn constraints(stage: &ResolvedStage, inputs: &BTreeMap<String, Input>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for port in &stage.offer.signature.inputs {
        let Some(input) = inputs.get(&port.name) else { continue };
        for (fact, accepted) in &port.constraints {
            let got = input.description.facts.get(fact);
            if got.is_some_and(|g| accepted.contains(g)) {
                continue;
            }
            let from = stage.inputs.get(&port.name).map(|o| o.stage.as_str()).unwrap_or_default();
            let got = got.map_or_else(|| "does not say".into(), |g| format!("has `{g}`"));
            let accepted = accepted.iter().map(|a| format!("`{a}`")).collect::<Vec<_>>().join(" or ");
            let message = format!("input `{}` takes `{fact}` = {accepted}, but `{from}` {got}", port.name);
            findings.push(Finding::new(Severity::Error, "unfit_input", message));
        }
    }
    findings
}

/// Says so where a stage needs more memory than there is.
pub fn memory(estimate: &Estimate, budget: Option<u64>) -> Option<Finding> {
    let (needed, budget) = (estimate.memory?, budget?);
    (needed > budget).then(|| {
        let message = format!("needs {} of memory, and there are {}", bytes(needed), bytes(budget));
        Finding::new(Severity::Error, "over_memory", message)
            .with_help("close other programs, choose smaller parameters, or set another limit with `--memory`")
    })
}

/// Says so where what must be made does not fit on a disk.
pub fn disk(of: &DiskUse) -> Option<Finding> {
    let (needed, free) = (of.needed, of.disk?.free);
    (needed > free).then(|| {
        let (message, help) = match &of.directory {
            None => (
                format!("the stages write {}, and the disk has {} free", bytes(needed), bytes(free)),
                "`host cache list` shows what takes space; `HOST_CACHE_DIR` moves the cache to another disk",
            ),
            Some(directory) => (
                format!(
                    "the stages write {} into `{}`, and its disk has {} free",
                    bytes(needed),
                    directory.display(),
                    bytes(free)
                ),
                "make room there, or move that directory to another disk",
            ),
        };
        Finding::new(Severity::Error, "over_disk", message).with_help(help)
    })
}
