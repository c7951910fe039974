//! A plan as a table.

use super::{Table, bytes, seconds};
use crate::planning::{DiskUse, PipelinePlan};

/// One row a stage, then what it takes altogether.
pub fn plan_table(plan: &PipelinePlan) -> String {
    let size = |bytes_: Option<u64>| bytes_.map(bytes).unwrap_or_default();
    let mut table = Table::new(&["stage", "uses", "", "memory", "mapped", "disk", "time", "why"]);
    for stage in &plan.stages {
        let (state, why) = stage.state_words();
        let estimate = &stage.plan.estimate;
        let mut row = vec![stage.stage.clone(), stage.uses.clone(), state.into()];
        if stage.is_cached() {
            row.extend([String::new(), String::new(), String::new(), String::new()]);
        } else {
            row.extend([size(estimate.memory), size(estimate.mapped), size(estimate.disk)]);
            row.push(estimate.seconds.map(seconds).unwrap_or_default());
        }
        row.push(why);
        table.row(row);
    }
    format!("{}\n{}\n", table.render(), totals(plan))
}

fn totals(plan: &PipelinePlan) -> String {
    let to_run: Vec<_> = plan.stages.iter().filter(|s| !s.is_cached()).collect();
    if to_run.is_empty() {
        return "everything is there already".into();
    }
    let estimates = || to_run.iter().map(|s| &s.plan.estimate);
    let of = |have: Option<u64>| have.map(|b| format!(" of {}", bytes(b))).unwrap_or_default();
    let peak = estimates().filter_map(|e| e.memory).max();
    let time: f64 = estimates().filter_map(|e| e.seconds).sum();
    let mut parts = vec![format!("{} of {} stages to run", to_run.len(), plan.stages.len())];
    parts.extend(peak.map(|p| format!("peak memory {}{}", bytes(p), of(plan.resources.memory))));
    for DiskUse { directory, needed, disk } in &plan.disks {
        let within = directory.as_ref().map(|d| format!(" in {}", d.display())).unwrap_or_default();
        parts.push(format!("disk {}{}{within}", bytes(*needed), of(disk.map(|d| d.free))));
    }
    if time > 0.0 {
        parts.push(format!("about {}", seconds(time)));
    }
    parts.join(", ")
}
