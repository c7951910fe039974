//! What is borrowed from the other side: the host seen from a plugin, an extension seen from anywhere.

use std::sync::Arc;

use serde_json::Value;
use stage_abi::{AbiResult, ExtensionObject, HostObject, RStr, RString};

use super::{parse, text};
use crate::{CatalogueEntry, ExtensionHandle, Host, Result};

struct BorrowedHost(HostObject);

pub(super) fn host(host: HostObject) -> Arc<dyn Host> {
    Arc::new(BorrowedHost(host))
}

impl Host for BorrowedHost {
    fn progress(&self, unit: &str, done: u64, total: u64) {
        self.0.progress(unit.into(), done, total);
    }

    fn metric(&self, name: &str, step: u64, value: f64) {
        self.0.metric(name.into(), step, value);
    }

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }

    fn catalogue(&self) -> Vec<CatalogueEntry> {
        // The host never fails to list what it has; if it did, every lookup would say what is missing.
        plain(self.0.catalogue()).and_then(|text| parse(&text)).unwrap_or_default()
    }

    fn extension(&self, kind: &str, id: &str) -> Result<Arc<dyn ExtensionHandle>> {
        let object = plain(self.0.extension(kind.into(), id.into()))?;
        Ok(Arc::new(BorrowedExtension::new(object)?))
    }
}

/// A loaded extension of whatever plugin. Clones share the object.
pub struct BorrowedExtension {
    entry: CatalogueEntry,
    object: ExtensionObject,
}

impl Clone for BorrowedExtension {
    fn clone(&self) -> Self {
        Self { entry: self.entry.clone(), object: self.share() }
    }
}

impl BorrowedExtension {
    pub(crate) fn new(object: ExtensionObject) -> Result<Self> {
        let entry = parse(&plain(object.describe())?)?;
        Ok(Self { entry, object })
    }

    /// Kind, id, plugin and claims.
    pub fn entry(&self) -> &CatalogueEntry {
        &self.entry
    }

    pub(crate) fn share(&self) -> ExtensionObject {
        ExtensionObject::from_sabi(self.object.obj.shallow_clone())
    }
}

impl ExtensionHandle for BorrowedExtension {
    fn id(&self) -> &str {
        &self.entry.id
    }

    fn call(&self, op: &str, input: Value) -> Result<Value> {
        let input = text(&input)?;
        parse(&plain(self.object.call(op.into(), input.as_rstr()))?)
    }

    fn encode(&self, op: &str, src: &[f32], importance: &[f32], dst: &mut [u8]) -> Result<()> {
        plain(self.object.encode(RStr::from(op), src.into(), importance.into(), dst.into()))
    }

    fn decode(&self, op: &str, src: &[u8], dst: &mut [f32]) -> Result<()> {
        plain(self.object.decode(RStr::from(op), src.into(), dst.into()))
    }
}

/// A result with the author's error type.
pub(crate) fn plain<T>(result: AbiResult<T>) -> Result<T> {
    result.into_result().map_err(Into::into)
}

/// The value of a call that returns JSON.
pub(crate) fn value<T: serde::de::DeserializeOwned>(result: AbiResult<RString>) -> Result<T> {
    parse(&plain(result)?)
}
