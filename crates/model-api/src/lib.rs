//! What authors of model families and quantizers see, and how stages find them.
//!
//! A family is data: it reads a [`model::ModelDescription`] and returns a [`model::description::Reading`]: what the
//! network computes and every tensor of it. A quantizer is a recipe and codecs. Both cross the plugin boundary as
//! `stage_api::Extension`s, of the kinds [`FAMILY`] and [`QUANTIZER`], so neither the ABI nor the host knows of them:
//!
//! ```ignore
//! model_api::plugin![family(Granite), quantizer(Ggml)];
//! ```

#![deny(missing_docs)]

pub mod config;
pub mod family;
pub mod quantizer;
pub mod register;
mod wire;

pub use family::{Family, FamilyError};
pub use quantizer::{Quantizer, QuantizerError};
pub use stage_api;

/// The extension kind of model families.
pub const FAMILY: &str = "family";
/// The extension kind of quantizers.
pub const QUANTIZER: &str = "quantizer";

/// `stage_api::plugin!` with two words more: `plugin![family(Granite), quantizer(Ggml), stage(Convert)]`.
#[macro_export]
macro_rules! plugin {
    ($($word:ident($value:expr)),* $(,)?) => {
        $crate::stage_api::plugin! { parts: [$($crate::register::$word($value)),*] }
    };
}
