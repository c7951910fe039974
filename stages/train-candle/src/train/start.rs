//! Where training starts: fresh adapters, or those of a PEFT directory. Modules, ranks and scales are known from here
//! on, so the adapter that comes out is described before the first step.

use std::collections::BTreeMap;

use checkpoint::adapter::{self, AdapterConfig};
use checkpoint::view::module_shapes;
use decoder::Adapters;
use decoder::from_view::{adapters_of, lora_modules};
use model::adapter::AdaptedModule;
use model::architecture::Module;
use model::description::{Container, Reading};
use model::{AdapterDescription, Architecture, ModelDescription};

use super::error::TrainError;
use super::params::Params;
use super::targets::Targets;

/// Adapters before the first step.
#[derive(Debug, Clone)]
pub struct Start {
    config: AdapterConfig,
    modules: BTreeMap<String, AdaptedModule>,
    given: Option<adapter::Adapter>,
}

impl Start {
    /// What the parameters ask for on this model.
    ///
    /// # Errors
    /// Where a target is unknown, or the adapter to go on from cannot be read or was made for another model.
    pub fn new(params: &Params, reading: &Reading) -> Result<Self, TrainError> {
        let inventory = &reading.inventory;
        let start = match &params.init_adapter {
            Some(path) => {
                Self::given(adapter::Adapter::read_for(inventory, path).map_err(TrainError::InitAdapter)?, reading)?
            }
            None => Self::fresh(params, reading)?,
        };
        if params.dropout > 0.0 && !start.config.wrapped(inventory).is_empty() {
            let (dropout, parameters) = (params.dropout, start.config.target_parameters);
            return Err(TrainError::DropoutOnParameters { dropout, parameters });
        }
        Ok(start)
    }

    fn fresh(params: &Params, reading: &Reading) -> Result<Self, TrainError> {
        let targets = Targets::choose(reading, params.target_modules.as_deref(), params.target_parameters.as_deref())?;
        let config = AdapterConfig {
            target_parameters: targets.parameters,
            use_rslora: params.use_rslora,
            lora_dropout: params.dropout,
            ..AdapterConfig::new(params.rank, params.alpha(), targets.names)
        };
        let known = reading.architecture.modules();
        let chosen = known.into_iter().filter(|module| targets.modules.contains(module.path));
        let adapted = |module: Module<'_>| {
            let Module { path, experts, in_features, out_features } = module;
            let unknown = |source| TrainError::Scale { module: path.to_owned(), source };
            let (rank, scale) = (params.rank as u64, config.scale_of(path).map_err(unknown)?);
            let experts = experts.unwrap_or(1);
            Ok((path.to_owned(), AdaptedModule { rank, experts, in_features, out_features, scale, dora: false }))
        };
        let modules = chosen.map(adapted).collect::<Result<_, TrainError>>()?;
        Ok(Self { config, modules, given: None })
    }

    fn given(adapter: adapter::Adapter, reading: &Reading) -> Result<Self, TrainError> {
        let problems = adapter.check_modules(&module_shapes(&reading.inventory));
        if !problems.is_empty() {
            return Err(TrainError::UnfitInitAdapter { problems });
        }
        if let Some((module, _)) = adapter.modules.iter().find(|(_, lora)| lora.magnitude.is_some()) {
            return Err(TrainError::DoraInitAdapter { module: module.clone() });
        }
        let known = reading.architecture.modules();
        if let Some(module) = adapter.modules.keys().find(|name| known.iter().all(|module| module.path != **name)) {
            return Err(TrainError::OutsideInitAdapter { module: module.clone() });
        }
        let modules: BTreeMap<_, _> =
            adapter.modules.iter().map(|(name, lora)| (name.clone(), lora.describe())).collect();
        // By whole paths: what chose them, a pattern or layers, is not written again.
        let wrapped = adapter.config.wrapped(&reading.inventory);
        let is_wrapped = |name: &&String| wrapped.iter().any(|parameter| parameter.module == **name);
        let target_modules = modules.keys().filter(|name| !is_wrapped(name)).cloned().collect();
        let config = AdapterConfig { target_modules, ..adapter.config.clone() };
        Ok(Self { config, modules, given: Some(adapter) })
    }

    /// What comes out of training on `base`.
    pub fn description(&self, base: &ModelDescription) -> AdapterDescription {
        let (container, modules) = (Container::Safetensors, self.modules.clone());
        AdapterDescription { container, modules, keeps_tie: false, base: Some(base.clone()) }
    }

    /// By module path.
    pub fn modules(&self) -> &BTreeMap<String, AdaptedModule> {
        &self.modules
    }

    /// The adapters as the decoder trains them.
    ///
    /// # Errors
    /// Where they do not fit the architecture.
    pub fn adapters(&self, architecture: &Architecture, seed: u64) -> Result<Adapters, TrainError> {
        if let Some(given) = &self.given {
            return Ok(adapters_of(architecture, given)?);
        }
        let scale = self.modules.values().map(|module| module.scale).next().unwrap_or(1.0);
        let modules = self.modules.keys().cloned().collect();
        Ok(Adapters::initialize(architecture, &modules, self.config.r, scale, seed)?)
    }

    /// Trained adapters as PEFT stores them.
    pub fn finish(self, adapters: &Adapters) -> adapter::Adapter {
        adapter::Adapter { config: self.config, modules: lora_modules(adapters) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tiny;

    fn experts() -> Params {
        let names = ["experts.gate_up_proj", "experts.down_proj"].map(str::to_owned);
        Params { rank: 2, target_parameters: Some(names.into()), ..Params::default() }
    }

    #[test]
    fn experts_begin_as_in_peft_and_go_on_where_they_were() {
        let reading = tiny::mixture();
        let start = Start::new(&experts(), &reading).unwrap();
        let gate_up = &start.modules()["model.layers.1.block_sparse_moe.input_linear"];
        assert_eq!((gate_up.experts, gate_up.rank, gate_up.in_features, gate_up.out_features), (3, 2, 32, 96));
        let adapters = start.adapters(&reading.architecture, 7).unwrap();
        let down = adapters.iter().find(|adapter| adapter.module.ends_with("output_linear")).unwrap();
        let greatest = down.a.values().iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let bound = 1.0 / 48f32.sqrt();
        assert!(down.a.rows() == 6 && (0.9 * bound..=bound).contains(&greatest), "{greatest}");
        assert!(down.b.values().iter().all(|value| *value == 0.0));

        let dir = tempfile::tempdir().unwrap();
        start.clone().finish(&adapters).write_for(&reading.inventory, dir.path()).unwrap();
        let params = Params { init_adapter: Some(dir.path().into()), ..Params::default() };
        let again = Start::new(&params, &reading).unwrap();
        assert_eq!(again.modules(), start.modules());
        assert_eq!(again.adapters(&reading.architecture, 8).unwrap(), adapters);
    }

    /// What comes first must not depend on what comes beside it.
    #[test]
    fn experts_change_no_other_adapter() {
        let reading = tiny::mixture();
        let adapters =
            |params: &Params| Start::new(params, &reading).unwrap().adapters(&reading.architecture, 7).unwrap();
        let (with, without) = (adapters(&experts()), adapters(&Params { target_parameters: None, ..experts() }));
        assert_eq!(with.len(), without.len() + 2);
        assert!(without.iter().all(|adapter| with.iter().any(|other| other == adapter)));
    }

    #[test]
    fn dropout_is_refused_where_peft_has_none() {
        let reading = tiny::mixture();
        let refused = |params: Params| {
            let error = stage_api::Error::from(Start::new(&params, &reading).unwrap_err());
            assert_eq!(error.code, "dropout_on_parameters");
            assert!(error.help.unwrap().contains("leave `dropout` at 0"));
            error.message
        };
        let message = refused(Params { dropout: 0.1, ..experts() });
        assert!(message.contains("`experts.down_proj`, `experts.gate_up_proj`, `router.weight`"), "{message}");
        assert!(refused(Params { dropout: 0.1, ..Params::default() }).contains("here `router.weight`"));
        let linears = Params { dropout: 0.1, target_modules: Some(vec!["q_proj".into()]), ..Params::default() };
        assert!(Start::new(&linears, &reading).is_ok());
    }
}
