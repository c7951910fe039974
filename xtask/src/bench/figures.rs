//! What was measured of one training, on either side.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::host::{HostError, at};

/// Speed and memory of a training.
#[derive(Deserialize)]
pub struct Figures {
    /// Who trained.
    pub name: String,
    /// Median of the steps after the first.
    pub tokens_per_second: f64,
    /// Peak of anonymous memory, bytes.
    pub anonymous: u64,
    /// Peak of resident memory, mapped files included, bytes.
    pub resident: u64,
}

impl Figures {
    /// Reads a stage's events in a run directory.
    pub fn of_stage(run_dir: &Path, stage: &str, name: &str) -> Result<Self, HostError> {
        let path = run_dir.join("events.jsonl");
        let text = fs::read_to_string(&path).map_err(at(&path))?;
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let events: Vec<Value> = events.filter(|event| event["stage"] == stage).collect();
        let peak = |what: &str| events.iter().filter_map(|event| event[what].as_u64()).max().unwrap_or(0);
        let speeds = events.iter().filter(|event| event["event"] == "metric" && event["name"] == "tokens_per_second");
        let speeds = speeds.filter(|event| event["step"] != 1).filter_map(|event| event["value"].as_f64()).collect();
        let missing = || HostError::Missing { what: format!("series `tokens_per_second` of stage `{stage}`") };
        let tokens_per_second = median(speeds).ok_or_else(missing)?;
        Ok(Self { name: name.to_owned(), tokens_per_second, anonymous: peak("anonymous"), resident: peak("resident") })
    }
}

/// As Python's `statistics.median`.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) { (values[middle - 1] + upper) / 2.0 } else { upper })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_python() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
