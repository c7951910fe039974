//! The host's half of the boundary: loads plugins and lends them services. Stage authors need nothing of it.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stage_abi::{
    AbiError, AbiResult, ExtensionObject, HostObject, PluginModuleRef, RArc, RStr, RString, StageObject, TD_Opaque,
};

pub use crate::boundary::borrowed::BorrowedExtension;
use crate::boundary::borrowed::{plain, value};
use crate::boundary::{parse, text};
use crate::{CatalogueEntry, Error, Outcome, Plan, Request, Result, Signature};

/// The ABI version of this program; see `stage-abi`.
pub const ABI_VERSION: &str = stage_abi::VERSION;

/// How much an event of the log matters, most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Error = 1,
    Warn,
    Info,
    Debug,
    Trace,
}

/// One event of a plugin's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// How much it matters.
    pub level: Level,
    /// The module it comes from.
    pub target: String,
    /// The text.
    pub message: String,
    /// The fields beside the text: an object, or null.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub fields: Value,
}

/// What a host does for plugins; called from any thread.
pub trait Services: Send + Sync + 'static {
    /// Takes one event of a plugin's log.
    fn log(&self, record: LogRecord);
    /// See [`crate::Host::progress`].
    fn progress(&self, unit: &str, done: u64, total: u64);
    /// See [`crate::Host::metric`].
    fn metric(&self, name: &str, step: u64, value: f64);
    /// See [`crate::Host::cancelled`].
    fn cancelled(&self) -> bool;
    /// See [`crate::Host::catalogue`].
    fn catalogue(&self) -> Vec<CatalogueEntry>;
    /// See [`crate::Host::extension`].
    fn extension(&self, kind: &str, id: &str) -> Result<BorrowedExtension>;
}

/// Name and versions of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// The plugin's package name.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// The ABI version that it was built with.
    pub abi: String,
}

/// A plugin in this process, for the rest of its life.
pub struct LoadedPlugin {
    info: PluginInfo,
    module: PluginModuleRef,
}

impl LoadedPlugin {
    /// Loads a plugin's library and connects its log up to `max_level`. Runs the plugin's code: a damaged file can
    /// take the process with it.
    pub fn load(path: &Path, services: &Arc<dyn Services>, max_level: Option<Level>) -> Result<Self> {
        let module = stage_abi::load(path).map_err(|e| Error::new(e.code(), e.to_string()))?;
        let info = parse(&module.info()())?;
        plain(module.init()(host_object(services), max_level.map_or(0, |l| l as u8)))?;
        Ok(Self { info, module })
    }

    /// Name and versions.
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// The stages that the plugin has.
    pub fn stages(&self) -> Result<Vec<LoadedStage>> {
        plain(self.module.stages()())?.into_iter().map(LoadedStage::new).collect()
    }

    /// The extensions that the plugin has.
    pub fn extensions(&self) -> Result<Vec<BorrowedExtension>> {
        plain(self.module.extensions()())?.into_iter().map(BorrowedExtension::new).collect()
    }
}

/// A stage of a loaded plugin.
pub struct LoadedStage {
    signature: Signature,
    object: StageObject,
}

impl LoadedStage {
    pub(crate) fn new(object: StageObject) -> Result<Self> {
        let signature = value(object.signature())?;
        Ok(Self { signature, object })
    }

    /// What the stage takes and gives.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// See [`crate::Stage::plan`].
    pub fn plan(&self, services: &Arc<dyn Services>, request: &Request) -> Result<Plan> {
        value(self.object.plan(host_object(services), text(request)?.as_rstr()))
    }

    /// See [`crate::Stage::run`].
    pub fn run(&self, services: &Arc<dyn Services>, request: &Request) -> Result<Outcome> {
        value(self.object.run(host_object(services), text(request)?.as_rstr()))
    }

    /// See [`crate::Stage::action`].
    pub fn action(&self, name: &str, services: &Arc<dyn Services>, request: &Request) -> Result<Value> {
        value(self.object.action(name.into(), host_object(services), text(request)?.as_rstr()))
    }
}

pub(crate) fn host_object(services: &Arc<dyn Services>) -> HostObject {
    HostObject::from_ptr(RArc::new(LentHost(services.clone())), TD_Opaque)
}

struct LentHost(Arc<dyn Services>);

/// The host's methods run below a plugin's frames, so a panic of theirs must not cross the border either.
fn guard<T>(body: impl FnOnce() -> Result<T>) -> AbiResult<T> {
    stage_abi::guard(|| "the host".into(), || body().map_err(AbiError::from))
}

/// Where a call returns nothing there is nobody to tell; the panic hook has printed it.
fn guard_silently(body: impl FnOnce()) {
    let _ = guard(|| {
        body();
        Ok(())
    });
}

impl stage_abi::HostServices for LentHost {
    fn log(&self, level: u8, target: RStr<'_>, message: RStr<'_>, fields: RStr<'_>) {
        let level = match level {
            0 | 1 => Level::Error,
            2 => Level::Warn,
            3 => Level::Info,
            4 => Level::Debug,
            _ => Level::Trace,
        };
        let fields = serde_json::from_str(&fields).unwrap_or_default();
        let record = LogRecord { level, target: target.into(), message: message.into(), fields };
        guard_silently(|| self.0.log(record));
    }

    fn progress(&self, unit: RStr<'_>, done: u64, total: u64) {
        guard_silently(|| self.0.progress(&unit, done, total));
    }

    fn metric(&self, name: RStr<'_>, step: u64, value: f64) {
        guard_silently(|| self.0.metric(&name, step, value));
    }

    fn cancelled(&self) -> bool {
        guard(|| Ok(self.0.cancelled())).into_result().unwrap_or(false)
    }

    fn catalogue(&self) -> AbiResult<RString> {
        guard(|| text(&self.0.catalogue()))
    }

    fn extension(&self, kind: RStr<'_>, id: RStr<'_>) -> AbiResult<ExtensionObject> {
        guard(|| Ok(self.0.extension(&kind, &id)?.share()))
    }
}
