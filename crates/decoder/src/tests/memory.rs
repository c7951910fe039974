//! What is planned against what is taken.

use std::collections::BTreeSet;

use model::StoredType;

use super::synthetic;
use super::{batch, fast};
use crate::plan::{self, Length};
use crate::{Adapters, Dropout};

#[test]
fn the_plan_is_what_is_taken() {
    for architecture in [synthetic::llama(&[]), synthetic::everything(), synthetic::hybrid()] {
        let modules: BTreeSet<String> = architecture.modules().iter().map(|module| module.path.to_owned()).collect();
        let adapters = Adapters::initialize(&architecture, &modules, 4, 1.0, 0).unwrap();
        for dropout in [None, Some(Dropout { probability: 0.1, seed: 0, step: 0 })] {
            let (batch, network) = (batch(128), fast(&architecture, 2, StoredType::F32));
            let step = network.gradients(&adapters, &batch, dropout).unwrap();
            let lengths: Vec<Length> = batch
                .segments()
                .map(|segment| {
                    let learned = batch.targets().iter().filter(|target| segment.contains(&target.position)).count();
                    Length { tokens: segment.len(), learned }
                })
                .collect();
            let needs = plan::step(&architecture, &modules, 4, &lengths, 2, dropout.is_some()).unwrap();
            assert_eq!(needs.activations, network.backend().buffer_bytes());
            assert_eq!(needs.gradients, 4 * step.gradients.parameters() as u64);
            assert_eq!(needs.adapters, 4 * adapters.parameters() as u64);

            let network = fast(&architecture, 2, StoredType::F32);
            network.logits(&adapters, &batch, &mut |_, _| Ok(())).unwrap();
            let lengths: Vec<usize> = batch.segments().map(|segment| segment.len()).collect();
            let needs = plan::logits(&architecture, &modules, 4, &lengths, 2).unwrap();
            assert_eq!(needs.activations, network.backend().buffer_bytes());
        }
    }
}

#[test]
fn a_step_costs_four_operations_a_weight_and_token() {
    let architecture = synthetic::llama(&[]);
    let needs =
        plan::step(&architecture, &BTreeSet::new(), 1, &[Length { tokens: 64, learned: 63 }], 1, false).unwrap();
    let layers: u64 = architecture.linears().iter().map(|l| l.in_features * l.out_features).sum();
    let head = architecture.vocab_size * architecture.hidden_size;
    // A query sees half of the keys, in two products forward and five backward.
    let attention = 3 * 4 * 16 * 2 * 7 * (64 * 65 / 2);
    assert_eq!(needs.flops, (4 * (64 * layers + 63 * head) + attention) as f64);
}

#[test]
fn batches_of_other_sizes_leave_nothing_behind() {
    let architecture = synthetic::llama(&[]);
    let network = fast(&architecture, 2, StoredType::F32);
    network.gradients(&Adapters::none(), &batch(128), None).unwrap();
    for tokens in [100, 30, 64] {
        let ids = synthetic::tokens("other", tokens, 128);
        let sample = crate::Sample { id: 0, tokens: &ids, weights: &vec![1.0; tokens] };
        network.gradients(&Adapters::none(), &crate::Batch::new(&[sample]).unwrap(), None).unwrap();
        let length = Length { tokens, learned: tokens - 1 };
        let needs = plan::step(&architecture, &BTreeSet::new(), 1, &[length], 2, false).unwrap();
        assert_eq!(needs.activations, network.backend().buffer_bytes(), "{tokens} tokens");
    }
}
