//! What a plugin lends to the host: an author's stages and extensions behind ABI objects, each call guarded.

use stage_abi::{
    AbiError, AbiResult, ExtensionObject, HostObject, RArc, RSlice, RSliceMut, RStr, RString, StageObject, TD_Opaque,
};

use super::{borrowed, parse, text};
use crate::{CatalogueEntry, Context, Extension, Result, Stage};

struct LentStage {
    plugin: &'static str,
    id: String,
    stage: Box<dyn Stage>,
}

pub(super) fn stage(plugin: &'static str, stage: Box<dyn Stage>) -> StageObject {
    let id = stage.signature().id;
    StageObject::from_ptr(RArc::new(LentStage { plugin, id, stage }), TD_Opaque)
}

impl LentStage {
    fn guard<T>(&self, body: impl FnOnce() -> Result<T>) -> AbiResult<T> {
        stage_abi::guard(
            || format!("stage `{}` of plugin `{}`", self.id, self.plugin),
            || body().map_err(AbiError::from),
        )
    }
}

fn context(host: HostObject, request: &str) -> Result<Context> {
    Ok(Context::new(parse(request)?, borrowed::host(host)))
}

impl stage_abi::Stage for LentStage {
    fn signature(&self) -> AbiResult<RString> {
        self.guard(|| text(&self.stage.signature()))
    }

    fn plan(&self, host: HostObject, request: RStr<'_>) -> AbiResult<RString> {
        self.guard(|| text(&self.stage.plan(&context(host, &request)?)?))
    }

    fn run(&self, host: HostObject, request: RStr<'_>) -> AbiResult<RString> {
        self.guard(|| text(&self.stage.run(&context(host, &request)?)?))
    }

    fn action(&self, name: RStr<'_>, host: HostObject, request: RStr<'_>) -> AbiResult<RString> {
        self.guard(|| text(&self.stage.action(&name, &context(host, &request)?)?))
    }
}

struct LentExtension {
    plugin: &'static str,
    extension: Box<dyn Extension>,
}

pub(super) fn extension(plugin: &'static str, extension: Box<dyn Extension>) -> ExtensionObject {
    ExtensionObject::from_ptr(RArc::new(LentExtension { plugin, extension }), TD_Opaque)
}

impl LentExtension {
    fn guard<T>(&self, body: impl FnOnce(&dyn Extension) -> Result<T>) -> AbiResult<T> {
        let extension = self.extension.as_ref();
        stage_abi::guard(
            || format!("{} `{}` of plugin `{}`", extension.kind(), extension.id(), self.plugin),
            || body(extension).map_err(AbiError::from),
        )
    }
}

impl stage_abi::Extension for LentExtension {
    fn describe(&self) -> AbiResult<RString> {
        self.guard(|e| {
            let (kind, id, plugin) = (e.kind().into(), e.id().into(), self.plugin.into());
            text(&CatalogueEntry { kind, id, plugin, claims: e.claims() })
        })
    }

    fn call(&self, operation: RStr<'_>, input: RStr<'_>) -> AbiResult<RString> {
        self.guard(|e| text(&e.call(&operation, parse(&input)?)?))
    }

    fn encode(
        &self,
        codec: RStr<'_>,
        source: RSlice<'_, f32>,
        importance: RSlice<'_, f32>,
        mut target: RSliceMut<'_, u8>,
    ) -> AbiResult<()> {
        self.guard(|e| e.encode(&codec, source.as_slice(), importance.as_slice(), target.as_mut_slice()))
    }

    fn decode(&self, codec: RStr<'_>, source: RSlice<'_, u8>, mut target: RSliceMut<'_, f32>) -> AbiResult<()> {
        self.guard(|e| e.decode(&codec, source.as_slice(), target.as_mut_slice()))
    }
}
