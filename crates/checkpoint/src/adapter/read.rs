//! Reading an adapter directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use model::Inventory;

use super::halves::Found;
use super::parameters::{INNER, WrappedParameter};
use super::{Adapter, AdapterConfig, CONFIG_FILE, Error, LoraModule, Problem, Targeting, WEIGHTS_FILE, lookup};
use crate::safetensors::Safetensors;
use crate::source::read_small_file;

/// What PEFT puts before the module path.
pub(super) const PREFIX: &str = "base_model.model.";
pub(super) const A_SUFFIX: &str = ".lora_A.weight";
pub(super) const B_SUFFIX: &str = ".lora_B.weight";
pub(super) const MAGNITUDE_SUFFIX: &str = ".lora_magnitude_vector";

impl Adapter {
    /// Reads the adapter of `dir`, which adapts linears alone; matrices of any float type become `f32`.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        Self::read_as(dir, None)
    }

    /// Reads the adapter of `dir`, which was made for a model of this inventory and may adapt parameters.
    pub fn read_for(inventory: &Inventory, dir: &Path) -> Result<Self, Error> {
        Self::read_as(dir, Some(inventory))
    }

    fn read_as(dir: &Path, inventory: Option<&Inventory>) -> Result<Self, Error> {
        let config_path = dir.join(CONFIG_FILE);
        let in_config = |problem: Problem| Error::at(&config_path, problem);
        let json = read_small_file(&config_path).map_err(|error| in_config(error.into()))?;
        let config = AdapterConfig::parse(&json).map_err(in_config)?;
        let targeting = Targeting::parse(&json).map_err(in_config)?;
        let wrapped = match inventory {
            Some(inventory) => config.wrapped(inventory),
            None if config.target_parameters.is_empty() => Vec::new(),
            None => return Err(in_config(Problem::ParametersNeedModel)),
        };
        let weights_path = dir.join(WEIGHTS_FILE);
        let file = Safetensors::open_file(&weights_path).map_err(Problem::of_weights)?;
        let embeddings = inventory.map(lookup::embeddings);
        let adapter = Self::from_tensors(config, &wrapped, embeddings.as_ref(), &file)
            .map_err(|problem| Error::at(&weights_path, problem))?;
        let is_wrapped = |module: &str| wrapped.iter().any(|parameter| parameter.module == module);
        for module in adapter.modules.keys().filter(|module| !is_wrapped(module)) {
            if let Some(key) = targeting.leaves_out(module).map_err(in_config)? {
                return Err(in_config(Problem::LeftOut { module: module.clone(), key }));
            }
        }
        Ok(adapter)
    }

    fn from_tensors(
        config: AdapterConfig,
        wrapped: &[WrappedParameter],
        embeddings: Option<&BTreeSet<String>>,
        file: &Safetensors,
    ) -> Result<Self, Problem> {
        let Found { mut linears, lookups } = Found::read(file)?;
        let mut modules = BTreeMap::new();
        for parameter in wrapped {
            let mut halves = linears.remove(&parameter.path).unwrap_or_default();
            let magnitude = halves.magnitude.take();
            let (a, b) = halves.of_linear(&parameter.parameter)?;
            let lora = LoraModule { magnitude, ..parameter.read(a, b, &config)? };
            modules.insert(parameter.module.clone(), lora);
        }
        for (module, mut halves) in linears {
            if module.ends_with(INNER) {
                return Err(Problem::UnknownParameter { module });
            }
            if embeddings.is_some_and(|embeddings| embeddings.contains(&module)) {
                return Err(Problem::Lookup { module, expected: "lora_embedding_A" });
            }
            let magnitude = halves.magnitude.take();
            let (scale, (a, b)) = (config.scale_of(&module)?, halves.of_linear(&module)?);
            modules.insert(module, LoraModule { magnitude, ..LoraModule::new(a, b, scale) });
        }
        for (module, halves) in lookups {
            let Some(embeddings) = embeddings else { return Err(Problem::LookupNeedsModel { module }) };
            if !embeddings.contains(&module) {
                return Err(Problem::Lookup { module, expected: "lora_A" });
            }
            let (scale, (a, b)) = (config.scale_of(&module)?, halves.of_lookup(&module)?);
            modules.insert(module, LoraModule::new(a, b, scale));
        }
        let adapter = Self { config, modules };
        adapter.check(wrapped)?;
        Ok(adapter)
    }

    /// Checks ranks, scales and lengths against the configuration, and that values are numbers.
    pub(super) fn check(&self, wrapped: &[WrappedParameter]) -> Result<(), Problem> {
        if self.modules.is_empty() {
            return Err(Problem::Empty);
        }
        for (module, LoraModule { a, b, scale, experts, magnitude }) in &self.modules {
            let parameter = wrapped.iter().find(|wrapped| wrapped.module == *module);
            if *experts != parameter.map_or(1, |parameter| parameter.experts) {
                return Err(Problem::NotAParameter { module: module.clone(), experts: *experts });
            }
            let name = parameter.map_or(module, |parameter| &parameter.parameter);
            let rank = self.config.rank_of(name)?;
            if Some(a.rows) != rank.checked_mul(*experts) || b.columns != rank {
                let (a, b) = ([a.rows, a.columns], [b.rows / experts, b.columns * experts]);
                return Err(Problem::Rank { module: module.clone(), a, b, rank, experts: *experts });
            }
            let expected = self.config.scale_of(name)?;
            if *scale != expected {
                return Err(Problem::Scale { module: module.clone(), got: *scale, expected });
            }
            let values = [&a.values[..], &b.values, magnitude.as_deref().unwrap_or_default()];
            if values.iter().any(|values| values.iter().any(|value| !value.is_finite())) {
                return Err(Problem::NotFinite { module: module.clone() });
            }
            // PEFT has no lengths beside parameters.
            let has_lengths = self.config.use_dora && parameter.is_none();
            let (got, expected) = (magnitude.as_ref().map_or(0, Vec::len), if has_lengths { b.rows } else { 0 });
            if got != expected {
                return Err(Problem::Magnitude { module: module.clone(), got, expected });
            }
        }
        Ok(())
    }
}
