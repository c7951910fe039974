//! The binary interface between the host and its plugins, and the loader.
//!
//! This crate's version **is** the ABI version. Plugins and host are built apart, by different compilers and with
//! different dependencies, so only the types named here cross the border, and nobody but `stage-api` uses them:
//! authors write plain Rust.
//!
//! Two objects are lent by a plugin, [`StageObject`] and [`ExtensionObject`]; one is lent to it, [`HostObject`].
//! What is asked seldom (requests, plans, claims) travels as JSON text, whose meaning belongs to `stage-api`;
//! what is asked per row of a tensor travels as borrowed slices, without a copy.
//!
//! Rules that keep old plugins loading:
//! - Methods and root fields are only ever appended, methods with a default body, and the field marked
//!   `last_prefix_field` never moves. Small additions need no new method: every object has an `ext` door.
//! - Appending raises the patch version in 0.x (the minor version from 1.0 on); everything else breaks and raises
//!   the minor version (major from 1.0).
//! - No struct grows, and no enum carries data.

#![deny(missing_docs)]

mod error;
mod load;
mod objects;
mod panic;
mod policy;
mod root;

pub use abi_stable::library::LibHeader;
pub use abi_stable::sabi_trait::TD_Opaque;
pub use abi_stable::std_types::{RArc, RErr, ROk, RResult, RSlice, RSliceMut, RStr, RString, RVec};

pub use error::{AbiError, AbiResult};
pub use load::{LoadError, load};
pub use objects::{
    Extension, Extension_TO, ExtensionObject, HostObject, HostServices, HostServices_TO, Stage, Stage_TO, StageObject,
};
pub use panic::{guard, remember_panics, take_panic_location};
pub use policy::{Refusal, check};
pub use root::{PluginModule, PluginModuleRef, RootResult, construct, header, leak};

/// The ABI version that this binary was built with.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
