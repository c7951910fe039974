//! The macro that makes a crate a plugin.

/// The words of [`plugin!`]: each turns a value into a part of the plugin. A crate that defines a kind of extension has
/// a module like this one, with these words and its own.
pub mod register {
    pub use crate::boundary::Part;
    use crate::{Extension, Stage};

    /// `stage(Convert)`.
    pub fn stage(stage: impl Stage) -> Part {
        Part::Stage(Box::new(stage))
    }

    /// `extension(MyScheduler)`.
    pub fn extension(extension: impl Extension) -> Part {
        Part::Extension(Box::new(extension))
    }
}

/// Makes the crate (a `cdylib`) a plugin with the parts given, in any number and order:
/// `plugin![stage(Convert), extension(MyScheduler)]`. Each value is built whenever the host lists the plugin, so it is
/// no place for work.
///
/// A crate with a kind of its own adds words by wrapping this macro. The word is a function in its `register` module:
/// ```ignore
/// #[macro_export]
/// macro_rules! plugin {
///     ($($word:ident($value:expr)),* $(,)?) => {
///         $crate::stage_api::plugin! { parts: [$($crate::register::$word($value)),*] }
///     };
/// }
/// ```
#[macro_export]
macro_rules! plugin {
    ($($word:ident($value:expr)),* $(,)?) => {
        $crate::plugin! { parts: [$($crate::register::$word($value)),*] }
    };
    (parts: [$($part:expr),* $(,)?]) => {
        const _: () = {
            #[cfg(panic = "abort")]
            compile_error!("a plugin must be built with `panic = \"unwind\"`, so that a panic becomes an error");

            use $crate::__abi as abi;
            const NAME: &str = env!("CARGO_PKG_NAME");

            fn parts() -> Vec<$crate::register::Part> {
                vec![$($part),*]
            }
            extern "C" fn info() -> abi::RString {
                $crate::boundary::info(NAME, env!("CARGO_PKG_VERSION"))
            }
            extern "C" fn init(host: abi::HostObject, max_level: u8) -> abi::AbiResult<()> {
                $crate::boundary::init(NAME, host, max_level)
            }
            extern "C" fn stages() -> abi::AbiResult<abi::RVec<abi::StageObject>> {
                $crate::boundary::stages(NAME, parts)
            }
            extern "C" fn extensions() -> abi::AbiResult<abi::RVec<abi::ExtensionObject>> {
                $crate::boundary::extensions(NAME, parts)
            }
            extern "C" fn root() -> abi::RootResult {
                abi::construct(|| abi::leak(abi::PluginModule { info, init, stages, extensions }))
            }

            // The name that abi_stable's loader looks for; its own macro would make every plugin depend on it.
            // SAFETY: `root` returns what `construct` made, and no other symbol of this name exists in a plugin.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static HEADER: abi::LibHeader = unsafe { abi::header(root) };
        };
    };
}
