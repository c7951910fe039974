//! What stands on a port of kind `model` or `adapter`.

use model::description::Container;
use model::{AdapterDescription, ModelDescription};
use serde::Serialize;
use stage_api::{Description, Error, Result, kind};

/// A port's description of a model; `family` is who reads it.
pub fn describe_model(model: &ModelDescription, family: &str) -> Result<Description> {
    let name = model.claim().map_or("", |(_, name)| name);
    let described = Description::exact(kind::MODEL, body(model)?)
        .with_fact("container", model.container.name())
        .with_fact("family", family)
        .with_fact("architecture", name);
    // A fact is part of the keys of whoever takes the model; the bytes alone do not tell that it cuts texts otherwise.
    Ok(match model.provenance.get("pre") {
        Some(pre) => described.with_fact("pre", pre),
        None => described,
    })
}

/// A port's description of an adapter.
pub fn describe_adapter(adapter: &AdapterDescription) -> Result<Description> {
    let container = match adapter.container {
        Container::Safetensors => "safetensors",
        Container::Gguf => "gguf",
    };
    Ok(Description::exact(kind::ADAPTER, body(adapter)?).with_fact("container", container))
}

fn body<T: Serialize>(of: &T) -> Result<serde_json::Value> {
    serde_json::to_value(of).map_err(|e| Error::from_source("bad_description", &e))
}
