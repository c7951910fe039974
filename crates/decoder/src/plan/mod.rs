//! What a step takes, before there is one: the network's own code, run over shapes.
//!
//! [`Shapes`] is a backend that computes nothing. It takes and returns memory in the order in which [`crate::Fast`] does,
//! keeps the same books of recycled buffers, and counts operations; so what is planned is what is done.

mod books;
mod shapes;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::Architecture;
use model::row_map::Rows;

use crate::adapters::{Adapters, factor_shapes};
use crate::batch::{Batch, Sample};
use crate::error::Result;
use crate::mapped::{MappedMatrix, Segment};
use crate::network::Network;
use crate::rows::UnreadRows;
use crate::weights::Weights;

use books::{MatrixShape, Shapes};

/// The samples of a batch, as far as a plan needs to know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Tokens.
    pub tokens: usize,
    /// How many of them are learned.
    pub learned: usize,
}

/// Memory and work of one pass. Bytes are of memory that belongs to the process alone; the mapped base is not in them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Needs {
    /// Activations, kept and passing, at their peak.
    pub activations: u64,
    /// Decoded panels and attention scores of all threads.
    pub scratch: u64,
    /// The adapters' values.
    pub adapters: u64,
    /// Their gradients.
    pub gradients: u64,
    /// Multiplications and additions.
    pub flops: f64,
}

impl Needs {
    /// The peak, optimizer excluded.
    pub fn bytes(&self) -> u64 {
        self.activations + self.scratch + self.adapters + self.gradients
    }
}

/// What [`Network::gradients`] takes for a batch of these lengths, with adapters of `rank` on `modules`.
///
/// # Errors
/// Where the network would refuse the architecture or the modules.
pub fn step(
    architecture: &Architecture,
    modules: &BTreeSet<String>,
    rank: usize,
    lengths: &[Length],
    threads: usize,
    dropout: bool,
) -> Result<Needs> {
    let network = Network::new(Shapes::new(threads), architecture, &Planned)?;
    let adapters = adapters(architecture, modules, rank)?;
    let dropout = dropout.then_some(crate::random::Dropout { probability: 0.5, seed: 0, step: 0 });
    network.gradients(&adapters, &batch(lengths)?, dropout)?;
    Ok(network.backend().needs(&adapters))
}

/// What [`Network::loss`] takes for a batch of these lengths.
///
/// # Errors
/// As [`step`].
pub fn loss(
    architecture: &Architecture,
    modules: &BTreeSet<String>,
    rank: usize,
    lengths: &[Length],
    threads: usize,
) -> Result<Needs> {
    let network = Network::new(Shapes::new(threads), architecture, &Planned)?;
    let adapters = adapters(architecture, modules, rank)?;
    network.loss(&adapters, &batch(lengths)?)?;
    Ok(network.backend().needs(&adapters))
}

/// What [`Network::logits`] takes for sequences of these lengths.
///
/// # Errors
/// As [`step`].
pub fn logits(
    architecture: &Architecture,
    modules: &BTreeSet<String>,
    rank: usize,
    lengths: &[usize],
    threads: usize,
) -> Result<Needs> {
    let network = Network::new(Shapes::new(threads), architecture, &Planned)?;
    let adapters = adapters(architecture, modules, rank)?;
    let lengths: Vec<Length> = lengths.iter().map(|tokens| Length { tokens: *tokens, learned: 0 }).collect();
    network.logits(&adapters, &batch(&lengths)?, &mut |_, _| Ok(()))?;
    Ok(network.backend().needs(&adapters))
}

fn adapters(architecture: &Architecture, modules: &BTreeSet<String>, rank: usize) -> Result<Adapters<MatrixShape>> {
    Adapters::of_modules(architecture, modules, 1.0, |_, module| {
        let [a, b] = factor_shapes(module, rank);
        let shape = |[rows, columns]: [usize; 2]| MatrixShape { rows, columns };
        (shape(a), shape(b))
    })
}

/// A batch of these lengths; the last tokens of each sample are the learned ones.
fn batch(lengths: &[Length]) -> Result<Batch> {
    let weights = |length: &Length| {
        let first = length.tokens - length.learned.min(length.tokens);
        (0..length.tokens).map(|i| if i >= first { 1.0 } else { 0.0 }).collect::<Vec<f32>>()
    };
    let contents: Vec<_> = lengths.iter().map(|length| (vec![0; length.tokens], weights(length))).collect();
    let sample = |(i, (tokens, weights))| Sample { id: i as u64, tokens, weights };
    let views = contents.iter().map(|(tokens, weights): &(Vec<u32>, Vec<f32>)| (tokens.as_slice(), weights.as_slice()));
    let samples: Vec<Sample<'_>> = views.enumerate().map(sample).collect();
    Batch::new(&samples)
}

/// Weights of which only the shapes are known.
struct Planned;

impl Weights for Planned {
    fn matrix(&self, _: &str, [rows, columns]: [usize; 2]) -> Result<MappedMatrix> {
        let source = Arc::new(UnreadRows { rows: rows as u64, columns });
        let segment = Segment { source, rows: Rows::Range { first: 0, count: rows as u64 } };
        Ok(MappedMatrix::new(columns, vec![segment])?)
    }

    fn vector(&self, _: &str, len: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; len])
    }
}
