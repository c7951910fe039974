//! Where training starts: fresh adapters, or those of a PEFT directory. Modules, ranks and scales are known from here
//! on, so the adapter that comes out is described before the first step.

use std::collections::BTreeMap;

use checkpoint::adapter::{self, AdapterConfig, LoraModule};
use checkpoint::view::module_shapes;
use decoder::from_view::adapters_of;
use decoder::{Adapters, Matrix};
use model::adapter::AdaptedModule;
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
        match &params.init_adapter {
            Some(path) => Self::given(adapter::Adapter::read(path).map_err(TrainError::InitAdapter)?, reading),
            None => Self::fresh(params, &reading.architecture),
        }
    }

    fn fresh(params: &Params, architecture: &Architecture) -> Result<Self, TrainError> {
        let targets = Targets::choose(architecture, params.target_modules.as_deref())?;
        let config = AdapterConfig {
            use_rslora: params.use_rslora,
            lora_dropout: params.dropout,
            ..AdapterConfig::new(params.rank, params.alpha(), targets.names)
        };
        let chosen = architecture.linears().into_iter().filter(|linear| targets.modules.contains(&linear.module));
        let module = |linear: &model::architecture::Linear| {
            let module = linear.module.clone();
            let scale =
                config.scale_of(&module).map_err(|source| TrainError::Scale { module: module.clone(), source })?;
            let (in_features, out_features) = (linear.in_features, linear.out_features);
            let rank = params.rank as u64;
            Ok((module, AdaptedModule { rank, experts: 1, in_features, out_features, scale, dora: false }))
        };
        let modules = chosen.map(module).collect::<Result<_, TrainError>>()?;
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
        let modules = adapter.modules.iter().map(|(name, lora)| (name.clone(), lora.describe())).collect();
        Ok(Self { config: adapter.config.clone(), modules, given: Some(adapter) })
    }

    /// What comes out of training on `base`.
    pub fn description(&self, base: &ModelDescription) -> AdapterDescription {
        let (container, modules) = (Container::Safetensors, self.modules.clone());
        AdapterDescription { container, modules, base: Some(base.clone()) }
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
        let module = |adapter: &decoder::Adapter| {
            let (a, b) = (stored(&adapter.a), stored(&adapter.b));
            (adapter.module.clone(), LoraModule::new(a, b, adapter.scale))
        };
        adapter::Adapter { config: self.config, modules: adapters.iter().map(module).collect() }
    }
}

fn stored(matrix: &Matrix) -> adapter::Matrix {
    adapter::Matrix { rows: matrix.rows(), columns: matrix.columns(), values: matrix.values().to_vec() }
}
