//! The words of [`crate::plugin!`].

pub use stage_api::register::*;

use crate::family::{Family, FamilyExtension};
use crate::quantizer::{Quantizer, QuantizerExtension};

/// `family(Granite)`.
pub fn family(family: impl Family) -> Part {
    extension(FamilyExtension(family))
}

/// `quantizer(Ggml)`.
pub fn quantizer(quantizer: impl Quantizer) -> Part {
    extension(QuantizerExtension(quantizer))
}
