//! The explicit backward pass against candle's own differentiation, against finite differences, and fast against slow.

use candle_core::{DType, Tensor, Var};
use model::{Architecture, StoredType};

use super::synthetic::{self, adapters};
use super::{assert_close, batch, fast, reference};
use crate::adapters::Adapters;
use crate::random::Dropout;
use crate::{LossSum, Matrix, Network, Reference, Step};

const DROPOUT: Dropout = Dropout { probability: 0.2, seed: 1, step: 2 };

fn on(reference: &Network<Reference>, adapters: &Adapters) -> Adapters<Tensor> {
    let matrices: Vec<_> = adapters.iter().map(|adapter| (&adapter.a, &adapter.b)).collect();
    let tensor = |matrix| reference.backend().matrix(matrix).unwrap();
    adapters.map(|i| (tensor(matrices[i].0), tensor(matrices[i].1)))
}

fn matrix(tensor: &Tensor) -> Matrix {
    let (rows, columns) = tensor.dims2().unwrap();
    let values = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    Matrix::new(rows, columns, values).unwrap()
}

fn as_f32(step: &Step<Tensor>) -> Step<Matrix> {
    let tensors: Vec<_> = step.gradients.iter().map(|x| (matrix(&x.a), matrix(&x.b))).collect();
    Step { gradients: step.gradients.map(|i| tensors[i].clone()), loss: step.loss }
}

fn relative(got: &Tensor, want: &Tensor) -> f64 {
    let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
    norm(&(got - want).unwrap()) / norm(want)
}

fn architectures() -> [Architecture; 3] {
    let factors = [1.0, 1.0, 1.5, 2.0, 4.0, 8.0, 8.0, 8.0];
    [synthetic::llama(&factors), synthetic::everything(), synthetic::hybrid()]
}

#[test]
fn candle_agrees_in_f64() {
    for architecture in architectures() {
        let network = reference(&architecture, DType::F64);
        let (batch, adapters) = (batch(128), on(&network, &adapters(&architecture, 3)));
        let variables: Vec<(Var, Var)> =
            adapters.iter().map(|x| (Var::from_tensor(&x.a).unwrap(), Var::from_tensor(&x.b).unwrap())).collect();
        let variable = adapters.map(|i| (variables[i].0.as_tensor().clone(), variables[i].1.as_tensor().clone()));
        let loss = network.loss_tensor(&variable, &batch, Some(DROPOUT)).unwrap();
        let oracle = loss.backward().unwrap();
        let step = network.gradients(&adapters, &batch, Some(DROPOUT)).unwrap();
        let apart = (step.loss.loss_sum - loss.to_scalar::<f64>().unwrap()).abs() / step.loss.loss_sum;
        assert!(apart < 1e-12, "losses differ by {apart:e}");
        for (adapter, (a, b)) in step.gradients.iter().zip(&variables) {
            for (got, variable) in [(&adapter.a, a), (&adapter.b, b)] {
                let apart = relative(got, oracle.get(variable).unwrap());
                assert!(apart < 1e-6, "`{}` differs by {apart:e}", adapter.module);
            }
        }
    }
}

#[test]
fn finite_differences_agree_in_f64() {
    const STEP: f64 = 1e-4;
    for architecture in architectures() {
        let network = reference(&architecture, DType::F64);
        let (batch, base) = (batch(128), on(&network, &adapters(&architecture, 3)));
        let step = network.gradients(&base, &batch, None).unwrap();
        let matrices: Vec<_> = base.iter().map(|x| [x.a.clone(), x.b.clone()]).collect();
        for (i, gradient) in step.gradients.iter().enumerate() {
            for (part, gradient) in [&gradient.a, &gradient.b].into_iter().enumerate() {
                // Along its own direction a derivative is as long as it can be.
                let length = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
                let at = |distance: f64| {
                    let mut moved = matrices.clone();
                    moved[i][part] = (&moved[i][part] + (gradient * (distance / length)).unwrap()).unwrap();
                    let LossSum { loss_sum, .. } =
                        network.loss(&base.map(|i| moved[i].clone().into()), &batch).unwrap();
                    loss_sum
                };
                // Five points leave an error of the fourth power.
                let slope = (8.0 * (at(STEP) - at(-STEP)) - (at(2.0 * STEP) - at(-2.0 * STEP))) / (12.0 * STEP);
                let apart = (slope - length).abs() / length;
                assert!(apart < 1e-6, "matrix {part} of adapter {i}: {slope} is not {length}, by {apart:e}");
            }
        }
    }
}

#[test]
fn the_fast_path_agrees_with_the_reference() {
    for architecture in architectures() {
        let (batch, adapters) = (batch(128), adapters(&architecture, 3));
        let slow = reference(&architecture, DType::F64);
        for dropout in [None, Some(DROPOUT)] {
            let want = as_f32(&slow.gradients(&on(&slow, &adapters), &batch, dropout).unwrap());
            let got = fast(&architecture, 2, StoredType::F32).gradients(&adapters, &batch, dropout).unwrap();
            assert_close(&got, &want, 1e-5);
        }
    }
}

#[test]
fn every_a_and_b_gets_a_gradient() {
    for architecture in architectures() {
        let modules = architecture.modules().iter().map(|module| module.path.to_owned()).collect();
        let mut adapters = Adapters::initialize(&architecture, &modules, 4, 1.0, 0).unwrap();
        let network = fast(&architecture, 2, StoredType::Q8_0);
        let fresh = network.gradients(&adapters, &batch(128), None).unwrap();
        assert!(fresh.gradients.iter().all(|x| x.b.values().iter().any(|v| *v != 0.0)), "B is where training begins");
        assert!(fresh.gradients.iter().all(|x| x.a.values().iter().all(|v| *v == 0.0)), "B = 0 hides A");
        adapters.iter_mut().for_each(|adapter| adapter.b.values_mut().fill(0.01));
        let step = network.gradients(&adapters, &batch(128), None).unwrap();
        assert_eq!(step.gradients.len(), architecture.modules().len());
        for matrix in step.gradients.matrices() {
            assert!(matrix.values().iter().all(|v| v.is_finite()) && matrix.values().iter().any(|v| *v != 0.0));
        }
    }
}
