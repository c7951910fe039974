//! What `validate-arch` leaves behind.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use stage_api::{Error, Finding, Result};
use stage_model::ModelInput;

/// The report's JSON.
#[derive(Serialize)]
pub struct Report<'a> {
    family: &'a str,
    dialect: String,
    container: &'a str,
    gguf_architecture: &'a str,
    /// Values in all tensors of the canonical form.
    pub parameters: u64,
    layer_kinds: Vec<&'a str>,
    values_read: bool,
    findings: &'a [Finding],
}

impl<'a> Report<'a> {
    pub fn new(model: &'a ModelInput, findings: &'a [Finding], values_read: bool) -> Self {
        let reading = &model.reading;
        Self {
            family: &reading.family,
            dialect: reading.dialect.to_string(),
            container: model.description.container.name(),
            gguf_architecture: &reading.gguf.architecture,
            parameters: reading.inventory.tensors.iter().map(|t| t.shape.iter().product::<u64>()).sum(),
            layer_kinds: reading.architecture.requires().into_iter().collect(),
            values_read,
            findings,
        }
    }

    /// Writes `report.json` into `dir` and returns what it says.
    pub fn write(&self, dir: &Path) -> Result<Value> {
        let io = |e: std::io::Error| Error::from_source("io", &e).with_cause(dir.display().to_string());
        let value = serde_json::to_value(self).map_err(|e| Error::from_source("bad_report", &e))?;
        std::fs::create_dir_all(dir).map_err(io)?;
        std::fs::write(dir.join("report.json"), format!("{value:#}\n")).map_err(io)?;
        Ok(value)
    }
}
