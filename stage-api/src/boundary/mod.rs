//! Plain Rust on one side, `stage-abi`'s objects on the other: the only place that sees both.
//!
//! [`lent`] is what a plugin lends to the host, [`borrowed`] what either side borrows from the other, [`log`] carries
//! a plugin's tracing events over. The host's own half is [`crate::hosting`].

pub(crate) mod borrowed;
pub(crate) mod lent;
mod log;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stage_abi::{AbiError, AbiResult, ExtensionObject, HostObject, RString, RVec, StageObject};

use crate::{Error, Result};

/// Text that either side made for the other; it fails only where the two disagree about a type.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::new("bad_message", format!("plugin and host disagree: {e}")))
}

pub(crate) fn text<T: Serialize>(value: &T) -> Result<RString> {
    let text = serde_json::to_string(value);
    text.map(RString::from).map_err(|e| Error::new("bad_message", format!("a value has no JSON form: {e}")))
}

impl From<Error> for AbiError {
    fn from(error: Error) -> Self {
        let detail = serde_json::json!({ "help": error.help, "causes": error.causes });
        Self { code: error.code.into(), message: error.message.into(), detail_json: detail.to_string().into() }
    }
}

impl From<AbiError> for Error {
    fn from(error: AbiError) -> Self {
        // A detail that cannot be read must not hide the error itself.
        let detail: Value = serde_json::from_str(&error.detail_json).unwrap_or_default();
        let causes = detail["causes"].as_array().into_iter().flatten();
        Self {
            code: error.code.into(),
            message: error.message.into(),
            help: detail["help"].as_str().map(str::to_owned),
            causes: causes.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }
}

/// Something that a plugin has, as the words of [`crate::plugin!`] make it.
pub enum Part {
    /// A stage.
    Stage(Box<dyn crate::Stage>),
    /// An extension of whatever kind.
    Extension(Box<dyn crate::Extension>),
}

/// Name and versions of a plugin, for the macro.
pub fn info(name: &str, version: &str) -> RString {
    serde_json::json!({ "name": name, "version": version, "abi": stage_abi::VERSION }).to_string().into()
}

/// Connects log and panics of a plugin to the host, for the macro.
pub fn init(plugin: &'static str, host: HostObject, max_level: u8) -> AbiResult<()> {
    stage_abi::guard(
        || format!("plugin `{plugin}`"),
        || {
            log::connect(host, max_level);
            Ok(())
        },
    )
}

/// The stages among a plugin's parts, for the macro.
pub fn stages(plugin: &'static str, parts: fn() -> Vec<Part>) -> AbiResult<RVec<StageObject>> {
    let pick = |part| match part {
        Part::Stage(stage) => Some(lent::stage(plugin, stage)),
        Part::Extension(_) => None,
    };
    stage_abi::guard(|| format!("plugin `{plugin}`"), || Ok(parts().into_iter().filter_map(pick).collect()))
}

/// The extensions among a plugin's parts, for the macro.
pub fn extensions(plugin: &'static str, parts: fn() -> Vec<Part>) -> AbiResult<RVec<ExtensionObject>> {
    let pick = |part| match part {
        Part::Extension(extension) => Some(lent::extension(plugin, extension)),
        Part::Stage(_) => None,
    };
    stage_abi::guard(|| format!("plugin `{plugin}`"), || Ok(parts().into_iter().filter_map(pick).collect()))
}

#[cfg(test)]
mod tests;
