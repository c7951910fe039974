//! The error that crosses the border.

use abi_stable::StableAbi;
use abi_stable::std_types::{RResult, RString};

/// An error as it crosses the border. It never grows: whatever comes later goes into `detail_json`.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, PartialEq, Eq)]
pub struct AbiError {
    /// A stable identifier: `bad_parameter`, `cancelled`, `panic`, …
    pub code: RString,
    /// What, where, got and expected.
    pub message: RString,
    /// A JSON object with the rest (help, causes), or empty.
    pub detail_json: RString,
}

/// A result as it crosses the border.
pub type AbiResult<T> = RResult<T, AbiError>;

impl AbiError {
    /// The code of a panic that was caught at the border.
    pub const PANIC: &'static str = "panic";
    /// The code of an operation that the other side's version does not have.
    pub const UNSUPPORTED: &'static str = "unsupported_operation";

    /// An error without detail.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into().into(), detail_json: RString::new() }
    }

    /// The answer of an `ext` door to an operation that it does not have.
    pub fn unsupported(object: &str, operation: &str) -> Self {
        Self::new(Self::UNSUPPORTED, format!("this {object} has no operation `{operation}`"))
    }
}
