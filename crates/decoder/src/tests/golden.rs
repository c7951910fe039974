//! Golden values of transformers, PEFT and torch on a tiny Llama; `tests/data/make_golden.py` made them.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use model::StoredType;

use super::synthetic::{self, adapters};
use super::{distance, fast};
use crate::{Adapters, Batch, Fast, Network, Sample};

const GOLDEN: &[u8] = include_bytes!("../../tests/data/synthetic_llama.safetensors");

fn values(golden: &BTreeMap<String, Tensor>, name: &str) -> Vec<f32> {
    golden[name].flatten_all().unwrap().to_vec1().unwrap()
}

fn logits(network: &Network<Fast>, adapters: &Adapters, ids: &[u32]) -> Vec<f32> {
    let mut all = Vec::new();
    let mut sink = |_, rows: &[f32]| {
        all.extend_from_slice(rows);
        Ok(())
    };
    network.logits(adapters, &Batch::read_only(&[ids]).unwrap(), &mut sink).unwrap();
    all
}

#[test]
fn logits_loss_and_gradients_are_those_of_transformers_and_peft() {
    let golden: BTreeMap<String, Tensor> =
        candle_core::safetensors::load_buffer(GOLDEN, &Device::Cpu).unwrap().into_iter().collect();
    let ids: Vec<i64> = golden["input_ids"].to_vec1().unwrap();
    let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
    assert_eq!(ids, synthetic::tokens("ids", 70, 128), "both sides make the same numbers");

    let architecture = synthetic::llama(&values(&golden, "rope_factors"));
    let network = fast(&architecture, 2, StoredType::F32);
    let adapters = adapters(&architecture, 3);
    for (name, adapters) in [("logits", &Adapters::none()), ("adapted_logits", &adapters)] {
        let apart = distance(&logits(&network, adapters, &ids), &values(&golden, name));
        assert!(apart < 2e-6, "{name} differ by {apart:e}");
    }

    let weights: Vec<f32> = (0..ids.len()).map(|i| if i.is_multiple_of(3) { 0.0 } else { 1.0 }).collect();
    let batch = Batch::new(&[Sample { id: 0, tokens: &ids, weights: &weights }]).unwrap();
    let step = network.gradients(&adapters, &batch, None).unwrap();
    let loss = f64::from(values(&golden, "loss_sum")[0]);
    assert!((step.loss.loss_sum - loss).abs() < 1e-6 * loss, "{} is not {loss}", step.loss.loss_sum);
    for gradient in step.gradients.iter() {
        for (part, got) in [("lora_A", &gradient.a), ("lora_B", &gradient.b)] {
            let apart = distance(got.values(), &values(&golden, &format!("gradient.{}.{part}", gradient.module)));
            assert!(apart < 1e-5, "{part} of `{}` differs by {apart:e}", gradient.module);
        }
    }
}
