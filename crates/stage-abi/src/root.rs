//! The one symbol that a plugin exports.

use abi_stable::StableAbi;
use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModule, RootModuleResult};
use abi_stable::package_version_strings;
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RString, RVec};

use crate::{AbiResult, ExtensionObject, HostObject, StageObject};

/// The functions that a plugin starts with. New kinds of objects are appended here and are `None` in old plugins.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef, prefix_fields = PluginModulePrefix)))]
pub struct PluginModule {
    /// Name and version of the plugin, as JSON.
    pub info: extern "C" fn() -> RString,
    /// Connects the plugin's log (up to `max_level`, 0 is nothing, 5 everything) and its panics to the host. Called
    /// once, before any object is used.
    pub init: extern "C" fn(host: HostObject, max_level: u8) -> AbiResult<()>,
    /// The stages that the plugin has.
    pub stages: extern "C" fn() -> AbiResult<RVec<StageObject>>,
    /// The extensions that the plugin has.
    #[sabi(last_prefix_field)]
    pub extensions: extern "C" fn() -> AbiResult<RVec<ExtensionObject>>,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "stage_plugin";
    const NAME: &'static str = "stage_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// Makes a module live as long as the process.
pub fn leak(module: PluginModule) -> PluginModuleRef {
    module.leak_into_prefix()
}

/// What the constructor behind the exported symbol returns.
pub type RootResult = RootModuleResult;

/// Calls a plugin's constructor; `stage-api`'s macro wraps it in an `extern "C"` function.
pub fn construct(module: fn() -> PluginModuleRef) -> RootResult {
    __call_root_module_loader::<PluginModuleRef>(module)
}

/// The value of the exported symbol.
///
/// # Safety
/// `constructor` must return what [`construct`] made of a [`PluginModule`].
pub const unsafe fn header(constructor: extern "C" fn() -> RootResult) -> LibHeader {
    // SAFETY: the caller promises that the constructor makes a `PluginModuleRef`.
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(constructor, CheckTypeLayout::Yes) }
}
