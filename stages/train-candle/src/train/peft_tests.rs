//! Ten steps against PEFT in f32: same base, initial adapter, samples and order.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use checkpoint::adapter::Adapter;
use checkpoint::{Checkpoint, ModelView};
use decoder::from_view::{ViewWeights, adapters_of};
use decoder::{Fast, Network};
use serde::Deserialize;
use tokenizer::conversation::Sample;

use super::params::Params;
use super::steps::Training;
use crate::tiny;

#[derive(Deserialize)]
struct Run {
    settings: Settings,
    losses: Vec<f64>,
}

#[derive(Deserialize)]
struct Settings {
    steps: u64,
    batch: usize,
    accumulation: usize,
    lr: f64,
    warmup_percent: f64,
    weight_decay: f64,
    clip: f64,
}

#[derive(Deserialize)]
struct Masked {
    ids: Vec<u32>,
    learned: Vec<bool>,
}

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/peft-tiny").join(name)
}

fn json<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(data(name)).unwrap()).unwrap()
}

#[test]
fn losses_and_adapters_are_pefts() {
    let reading = tiny::reading(64);
    let view = ModelView::new(Checkpoint::open(&data("")).unwrap(), reading.inventory, None).unwrap();
    let network =
        Network::new(Fast::new(2).unwrap(), &reading.architecture, &ViewWeights::new(Arc::new(view))).unwrap();
    let mut adapters = adapters_of(&reading.architecture, &Adapter::read(&data("init")).unwrap()).unwrap();
    let samples: Vec<Sample> = json::<Vec<Masked>>("samples.json")
        .into_iter()
        .map(|Masked { ids, learned }| Sample { ids, learned })
        .collect();
    let Run { settings, losses } = json("run.json");
    let params = Params {
        steps: Some(settings.steps),
        batch_size: settings.batch,
        gradient_accumulation_steps: settings.accumulation,
        learning_rate: settings.lr,
        warmup_ratio: settings.warmup_percent / 100.0,
        weight_decay: settings.weight_decay,
        max_grad_norm: settings.clip,
        shuffle: false,
        ..Params::default()
    };

    let bench = tiny::Bench::new();
    let ctx = &bench.context(serde_json::Value::Null, true, 2);
    let training = Training { ctx, params: &params, network: &network, samples: &samples, held_out: &samples[..2] };
    let figures = training.run(&mut adapters).unwrap();

    let ours = bench.host.metric("loss");
    assert_eq!(ours.len(), losses.len());
    for ((step, ours), theirs) in ours.into_iter().zip(losses) {
        assert!((ours - theirs).abs() < 2e-6 * theirs, "step {step}: {ours} is not {theirs}");
    }
    let trained = Adapter::read(&data("final")).unwrap();
    for adapter in adapters.iter() {
        let theirs = &trained.modules[&adapter.module];
        for (got, want) in [(&adapter.a, &theirs.a), (&adapter.b, &theirs.b)] {
            let apart = tiny::apart(got.values(), &want.values);
            assert!(apart < 1e-4, "`{}` is {apart:e} of its norm apart", adapter.module);
        }
    }
    let [before, after] = figures.eval_loss.unwrap();
    assert!(after < before, "{before} → {after}");
}
