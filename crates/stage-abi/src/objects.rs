//! The three objects that cross the border, as traits. Append only; see the crate's rules.

use abi_stable::sabi_trait;
use abi_stable::std_types::{RArc, RErr, RSlice, RSliceMut, RStr, RString};

use crate::{AbiError, AbiResult};

/// A step of a pipeline, lent by a plugin.
pub type StageObject = Stage_TO<'static, RArc<()>>;
/// A family, a quantizer or whatever kind of thing stages look up, lent by a plugin.
pub type ExtensionObject = Extension_TO<'static, RArc<()>>;
/// What the host does for a plugin.
pub type HostObject = HostServices_TO<'static, RArc<()>>;

/// A step of a pipeline.
#[sabi_trait]
pub trait Stage: Send + Sync {
    /// What the stage takes and gives.
    fn signature(&self) -> AbiResult<RString>;
    /// Descriptions of the outputs from descriptions of the inputs.
    fn plan(&self, host: HostObject, request_json: RStr<'_>) -> AbiResult<RString>;
    /// Writes the outputs.
    fn run(&self, host: HostObject, request_json: RStr<'_>) -> AbiResult<RString>;
    /// A document about the inputs.
    fn action(&self, name: RStr<'_>, host: HostObject, request_json: RStr<'_>) -> AbiResult<RString>;
    /// The door for operations that came after 0.1.0.
    #[sabi(last_prefix_field)]
    fn ext(&self, operation: RStr<'_>, input_json: RStr<'_>) -> AbiResult<RString> {
        let _ = input_json;
        RErr(AbiError::unsupported("stage", operation.as_str()))
    }
}

/// Something that stages look up by kind and id.
#[sabi_trait]
pub trait Extension: Send + Sync {
    /// Kind, id and claims.
    fn describe(&self) -> AbiResult<RString>;
    /// An operation on JSON, defined by the kind.
    fn call(&self, operation: RStr<'_>, input_json: RStr<'_>) -> AbiResult<RString>;
    /// Encodes whole rows; `importance` is empty or one weight a column.
    fn encode(
        &self,
        codec: RStr<'_>,
        source: RSlice<'_, f32>,
        importance: RSlice<'_, f32>,
        target: RSliceMut<'_, u8>,
    ) -> AbiResult<()>;
    /// Decodes whole rows.
    fn decode(&self, codec: RStr<'_>, source: RSlice<'_, u8>, target: RSliceMut<'_, f32>) -> AbiResult<()>;
    /// The door for operations that came after 0.1.0.
    #[sabi(last_prefix_field)]
    fn ext(&self, operation: RStr<'_>, input_json: RStr<'_>) -> AbiResult<RString> {
        let _ = input_json;
        RErr(AbiError::unsupported("extension", operation.as_str()))
    }
}

/// What the host does for a plugin.
#[sabi_trait]
pub trait HostServices: Send + Sync {
    /// One event of the plugin's log; `level` counts from 1 (error) to 5 (trace).
    fn log(&self, level: u8, target: RStr<'_>, message: RStr<'_>, fields_json: RStr<'_>);
    /// How far the work is; a `total` of 0 is unknown.
    fn progress(&self, unit: RStr<'_>, done: u64, total: u64);
    /// One point of a series.
    fn metric(&self, name: RStr<'_>, step: u64, value: f64);
    /// Whether the run was asked to stop.
    fn cancelled(&self) -> bool;
    /// Everything that `extension` can give.
    fn catalogue(&self) -> AbiResult<RString>;
    /// Loads an extension, once.
    fn extension(&self, kind: RStr<'_>, id: RStr<'_>) -> AbiResult<ExtensionObject>;
    /// The door for operations that came after 0.1.0.
    #[sabi(last_prefix_field)]
    fn ext(&self, operation: RStr<'_>, input_json: RStr<'_>) -> AbiResult<RString> {
        let _ = input_json;
        RErr(AbiError::unsupported("host", operation.as_str()))
    }
}
