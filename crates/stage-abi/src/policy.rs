//! Which plugins this host accepts.
//!
//! abi_stable's own check demands that the host's layout is a prefix of the plugin's, so it refuses every older plugin
//! as soon as one method was appended. Versions are linear here: of two compatible versions the *older* one is the
//! prefix, whichever side it is on.

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::{AbiHeaderRef, LibHeader, RootModule};
use abi_stable::sabi_types::VersionNumber;
use abi_stable::type_layout::TypeLayout;

use crate::PluginModuleRef;

/// Why a plugin was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A version that promises nothing about this one.
    #[error("it was built for plugin ABI {plugin}, and this program has {host}; rebuild the plugin against {host}")]
    Version {
        /// The plugin's ABI version.
        plugin: String,
        /// This program's ABI version.
        host: String,
    },
    /// Versions that should fit, with types that do not: somebody changed the interface without raising the version.
    #[error("its types differ from those of plugin ABI {host}: {differences}")]
    Layout {
        /// This program's ABI version.
        host: String,
        /// The first differences.
        differences: String,
    },
    /// An entry point that abi_stable cannot read.
    #[error("its entry point is unusable: {0}")]
    EntryPoint(String),
}

/// Checks a plugin's version and layout against this program's.
pub fn check(header: &LibHeader) -> Result<(), Refusal> {
    let host = parse(PluginModuleRef::VERSION_STRINGS)?;
    let plugin = parse(header.version_strings())?;
    if !same_promise(&host, &plugin) {
        return Err(Refusal::Version { plugin: plugin.to_string(), host: host.to_string() });
    }
    let host_layout = <PluginModuleRef as StableAbi>::LAYOUT;
    let plugin_layout = header.layout().ok_or_else(|| Refusal::EntryPoint("it carries no type layout".into()))?;
    check_layouts(order(&plugin) < order(&host), plugin_layout, host_layout)
        .map_err(|differences| Refusal::Layout { host: host.to_string(), differences })
}

/// Whether two versions promise to understand each other: equal major versions, in 0.x equal minor versions too.
fn same_promise(host: &VersionNumber, plugin: &VersionNumber) -> bool {
    host.major == plugin.major && (host.major != 0 || host.minor == plugin.minor)
}

fn order(version: &VersionNumber) -> (u32, u32, u32) {
    (version.major, version.minor, version.patch)
}

fn parse(version: abi_stable::sabi_types::VersionStrings) -> Result<VersionNumber, Refusal> {
    version.parsed().map_err(|e| Refusal::EntryPoint(e.to_string()))
}

fn check_layouts(plugin_is_older: bool, plugin: &'static TypeLayout, host: &'static TypeLayout) -> Result<(), String> {
    let (interface, implementation) = if plugin_is_older { (plugin, host) } else { (host, plugin) };
    check_layout_compatibility(interface, implementation).map_err(|report| first_differences(&report.to_string()))
}

/// The report repeats both layouts in full, up to hundreds of kilobytes; only the `Error:` lines say something.
fn first_differences(report: &str) -> String {
    let lines: Vec<_> = report.lines().filter_map(|l| l.trim().strip_prefix("Error:")).take(3).collect();
    if lines.is_empty() { "abi_stable gave no reason".into() } else { lines.join("; ") }
}

/// Reads the versioned header behind the raw symbol.
pub(crate) fn upgrade(raw: AbiHeaderRef) -> Result<&'static LibHeader, Refusal> {
    raw.upgrade().map_err(|e| Refusal::EntryPoint(first_line(&e.to_string())))
}

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u32, minor: u32, patch: u32) -> VersionNumber {
        VersionNumber { major, minor, patch }
    }

    #[test]
    fn before_1_0_the_minor_version_breaks() {
        assert!(same_promise(&version(0, 1, 0), &version(0, 1, 7)));
        assert!(same_promise(&version(0, 1, 7), &version(0, 1, 0)));
        assert!(!same_promise(&version(0, 2, 0), &version(0, 1, 0)));
        assert!(same_promise(&version(1, 0, 0), &version(1, 4, 0)));
        assert!(!same_promise(&version(2, 0, 0), &version(1, 0, 0)));
    }

    #[test]
    fn a_report_is_cut_to_its_errors() {
        let report = "compared <this>\nError:too many fields\nlots of layout\n  Error:mismatched type\n";
        assert_eq!(first_differences(report), "too many fields; mismatched type");
    }
}
