//! What results must not depend on: threads, batches, containers.

use model::StoredType;
use model::architecture::{Branch, OtherBranch};

use super::synthetic::{self, Synthetic, adapters};
use super::{assert_close, batch, fast};
use crate::mapped::MappedMatrix;
use crate::random::Dropout;
use crate::weights::Weights;
use crate::{Batch, DecoderError, Fast, Network, Result, Sample};

const DROPOUT: Option<Dropout> = Some(Dropout { probability: 0.1, seed: 3, step: 4 });

pub(super) fn logits(network: &Network<Fast>, adapters: &crate::Adapters, batch: &Batch) -> Vec<f32> {
    let mut all = Vec::new();
    let mut sink = |first: usize, rows: &[f32]| {
        assert_eq!(first * 128, all.len());
        all.extend_from_slice(rows);
        Ok(())
    };
    network.logits(adapters, batch, &mut sink).unwrap();
    all
}

#[test]
fn threads_change_no_bit() {
    for architecture in [synthetic::everything(), synthetic::hybrid()] {
        let (batch, adapters) = (batch(128), adapters(&architecture, 5));
        let one = fast(&architecture, 1, StoredType::Q8_0);
        let want = one.gradients(&adapters, &batch, DROPOUT).unwrap();
        for threads in [2, 3, 4] {
            let many = fast(&architecture, threads, StoredType::Q8_0);
            assert_eq!(many.gradients(&adapters, &batch, DROPOUT).unwrap(), want, "{threads} threads");
            assert_eq!(logits(&many, &adapters, &batch), logits(&one, &adapters, &batch), "{threads} threads");
            assert_eq!(many.gradients(&adapters, &batch, DROPOUT).unwrap(), want, "a second time");
        }
    }
}

/// Each sample of a batch as a batch of its own.
fn alone(together: &Batch) -> Vec<Batch> {
    let of = |(id, segment): (usize, std::ops::Range<usize>)| {
        let tokens = &together.ids()[segment.clone()];
        let mut weights = vec![0.0; tokens.len()];
        for target in together.targets().iter().filter(|target| segment.contains(&target.position)) {
            weights[target.position + 1 - segment.start] = target.weight;
        }
        Batch::new(&[Sample { id: id as u64, tokens, weights: &weights }]).unwrap()
    };
    together.segments().enumerate().map(of).collect()
}

#[test]
fn gradients_of_samples_add_up_to_those_of_their_batch() {
    let together = batch(128);
    let parts = alone(&together);
    for architecture in [synthetic::llama(&[]), synthetic::everything(), synthetic::hybrid()] {
        let adapters = adapters(&architecture, 5);
        for (stored_type, dropout) in [(StoredType::F32, DROPOUT), (StoredType::Q4_1, None)] {
            let network = fast(&architecture, 2, stored_type);
            let mut sum = network.gradients(&adapters, &parts[0], dropout).unwrap();
            for part in &parts[1..] {
                let step = network.gradients(&adapters, part, dropout).unwrap();
                sum.gradients.add(&step.gradients);
                sum.loss.loss_sum += step.loss.loss_sum;
                sum.loss.learned += step.loss.learned;
            }
            let want = network.gradients(&adapters, &together, dropout).unwrap();
            assert_eq!(sum.loss.learned, want.loss.learned);
            assert_close(&sum, &want, 1e-6);
        }
    }
}

#[test]
fn the_logits_of_a_token_have_the_same_bits_in_any_batch() {
    let together = batch(128);
    for architecture in [synthetic::everything(), synthetic::hybrid()] {
        let adapters = adapters(&architecture, 5);
        let network = fast(&architecture, 2, StoredType::F32);
        let rows: Vec<f32> = alone(&together).iter().flat_map(|part| logits(&network, &adapters, part)).collect();
        assert_eq!(rows, logits(&network, &adapters, &together));
    }
}

/// The values that a stored type decodes to, held as f32.
struct Dequantized(Synthetic);

impl Weights for Dequantized {
    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<MappedMatrix> {
        let stored = self.0.matrix(name, shape)?;
        let mut values = vec![0.0; shape[0] * shape[1]];
        stored.decode(0..shape[0], 0..shape[1], &mut values)?;
        Ok(MappedMatrix::of_values(shape[1], values)?)
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        self.0.vector(name, len)
    }
}

#[test]
fn the_container_changes_no_bit() {
    for (architecture, stored_type) in [
        (synthetic::llama(&[]), StoredType::Q8_0),
        (synthetic::llama(&[]), StoredType::Q4_1),
        (synthetic::llama(&[]), StoredType::Bf16),
        (synthetic::hybrid(), StoredType::Bf16),
    ] {
        let (batch, adapters) = (batch(128), adapters(&architecture, 2));
        let as_stored = fast(&architecture, 2, stored_type);
        let weights = Dequantized(Synthetic { stored_type });
        let as_values = Network::new(Fast::new(2).unwrap(), &architecture, &weights).unwrap();
        let step = as_stored.gradients(&adapters, &batch, None).unwrap();
        assert_eq!(step, as_values.gradients(&adapters, &batch, None).unwrap(), "{stored_type}");
        assert_eq!(logits(&as_stored, &adapters, &batch), logits(&as_values, &adapters, &batch), "{stored_type}");
    }
}

#[test]
fn what_is_not_computed_is_an_error() {
    let mut architecture = synthetic::llama(&[]);
    let other = OtherBranch { kind: "rwkv7".into(), linears: Vec::new() };
    architecture.layers[1].sublayers[0].branches[0] = Branch::Other(other);
    let weights = Synthetic { stored_type: StoredType::F32 };
    let built = Network::new(Fast::new(1).unwrap(), &architecture, &weights);
    assert!(matches!(built.err(), Some(DecoderError::Unsupported { layer: 1, kind }) if kind == "rwkv7"));

    let network = fast(&synthetic::llama(&[]), 1, StoredType::F32);
    let none = crate::Adapters::none();
    let unknown = Batch::read_only(&[&[1, 128]]).unwrap();
    let refused = network.loss(&none, &unknown);
    assert!(matches!(refused, Err(DecoderError::UnknownToken { token: 128, position: 1, vocab_size: 128 })));
    let nothing = network.loss(&none, &Batch::read_only(&[&[1, 2]]).unwrap());
    assert!(matches!(nothing, Err(DecoderError::NothingLearned { tokens: 2 })));
    let modules = ["model.layers.0.mlp.c_fc".to_owned()].into();
    let misnamed = crate::Adapters::initialize(&synthetic::llama(&[]), &modules, 4, 1.0, 0);
    assert!(misnamed.unwrap_err().to_string().contains("`down_proj`"), "known modules are listed");
}
