//! RoPE scaling rules as divisors of the frequencies, and back.
//!
//! llama3 (<https://arxiv.org/abs/2407.21783>): with wavelength λᵢ = 2π·theta^(2i/d) and context L, frequencies with
//! λ < L/high stay, those with λ > L/low are divided by `factor`, and between them
//! `1/fᵢ = (1 - s)/factor + s` with `s = (L/λᵢ - low)/(high - low)`.

use model::architecture::Rope;
use model_api::FamilyError;
use model_api::config::Config;
use serde_json::{Value, json};

use crate::config::positive;

/// The parameters of llama3 scaling.
#[derive(Debug, Clone, PartialEq)]
pub struct Llama3 {
    /// The divisor of the low frequencies.
    pub factor: f64,
    /// Wavelengths above context / this are divided whole.
    pub low_freq_factor: f64,
    /// Wavelengths below context / this stay.
    pub high_freq_factor: f64,
    /// The context.
    pub original_max_position_embeddings: f64,
}

fn wavelength(theta: f64, head_dim: u64, i: u64) -> f64 {
    // The frequency is rounded to f32 first, as transformers and llama.cpp's converter have it.
    let frequency = 1.0 / theta.powf((2 * i) as f64 / head_dim as f64) as f32;
    2.0 * std::f64::consts::PI / f64::from(frequency)
}

impl Llama3 {
    fn read(scaling: &Config<'_>) -> Result<Llama3, FamilyError> {
        let number = |key: &str| {
            let value = scaling.number(key)?;
            positive(key, value).map(|_| value)
        };
        Ok(Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_max_position_embeddings: number("original_max_position_embeddings")?,
        })
    }

    /// Divisors of the `head_dim/2` frequencies.
    pub fn factors(&self, theta: f64, head_dim: u64) -> Vec<f32> {
        let context = self.original_max_position_embeddings;
        let factor = |i| {
            let wavelength = wavelength(theta, head_dim, i);
            if wavelength < context / self.high_freq_factor {
                1.0
            } else if wavelength > context / self.low_freq_factor {
                self.factor as f32
            } else {
                let span = self.high_freq_factor - self.low_freq_factor;
                let smooth = (context / wavelength - self.low_freq_factor) / span;
                (1.0 / ((1.0 - smooth) / self.factor + smooth)) as f32
            }
        };
        (0..head_dim / 2).map(factor).collect()
    }

    /// The whole-numbered parameters that give `factors` within 2 units in the last place.
    ///
    /// (low, high, context) times a constant give the same factors, so `low` is taken to be 1; with fewer than two
    /// dimensions between the bands `high` is taken to be 4, as every published model has it.
    pub fn fit(theta: f64, head_dim: u64, factors: &[f32]) -> Option<Llama3> {
        let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
        let between = |f: &&(f64, f64)| f.1 > 1.0 && f.1 < factor;
        let all: Vec<(f64, f64)> =
            factors.iter().zip(0..).map(|(f, i)| (1.0 / wavelength(theta, head_dim, i), f64::from(*f))).collect();
        // Each dimension between the bands gives one equation: context·x - s·(high - 1) = 1.
        let equations: Vec<(f64, f64)> =
            all.iter().filter(between).map(|(x, f)| (*x, (1.0 / f - 1.0 / factor) / (1.0 - 1.0 / factor))).collect();
        let (context, high) = match equations.as_slice() {
            [] => return None,
            [(x, s)] => ((1.0 + 3.0 * s) / x, 4.0),
            several => least_squares(several)?,
        };
        let fitted = Llama3 {
            factor: factor.round(),
            low_freq_factor: 1.0,
            high_freq_factor: high.round(),
            original_max_position_embeddings: context.round(),
        };
        let near = |(a, b): (&f32, &f32)| a.to_bits().abs_diff(b.to_bits()) <= 2;
        fitted.factors(theta, head_dim).iter().zip(factors).all(near).then_some(fitted)
    }
}

/// Solves `context·x - (high - 1)·s = 1` in the least-squares sense.
fn least_squares(equations: &[(f64, f64)]) -> Option<(f64, f64)> {
    let sum = |f: &dyn Fn(f64, f64) -> f64| equations.iter().map(|(x, s)| f(*x, *s)).sum::<f64>();
    let (xx, xs, ss) = (sum(&|x, _| x * x), sum(&|x, s| x * s), sum(&|_, s| s * s));
    let (x1, s1) = (sum(&|x, _| x), sum(&|_, s| s));
    let determinant = xx * ss - xs * xs;
    if determinant.abs() <= f64::EPSILON * xx * ss {
        return None;
    }
    let context = (x1 * ss - s1 * xs) / determinant;
    let span = (x1 * xs - s1 * xx) / determinant;
    Some((context, span + 1.0))
}

/// Divisors of the frequencies and the attention factor that a configuration's scaling means.
pub fn read(scaling: &Config<'_>, theta: f64, head_dim: u64) -> Result<(Vec<f32>, f32), FamilyError> {
    let half = (head_dim / 2) as usize;
    let kind = match scaling.optional_str("rope_type")? {
        Some(kind) => Some(kind),
        None => scaling.optional_str("type")?,
    };
    let result = match kind.unwrap_or("default") {
        "default" => (Vec::new(), 1.0),
        "linear" => (vec![positive("factor", scaling.number("factor")?)?; half], 1.0),
        "llama3" => (Llama3::read(scaling)?.factors(theta, head_dim), 1.0),
        "longrope" => {
            let attention_factor = scaling.optional_number("attention_factor")?.unwrap_or(1.0);
            (same_factors(scaling, half)?, positive("attention_factor", attention_factor)?)
        }
        other => {
            return Err(FamilyError::Unsupported {
                what: format!("RoPE scaling `{other}`"),
                hint: "known: default, linear, llama3, longrope with equal short and long factors".into(),
            });
        }
    };
    scaling.finish(&["type", "rope_theta", "partial_rotary_factor"])?;
    Ok(result)
}

/// longrope with one list of factors: the way to write any divisors in a configuration.
fn same_factors(scaling: &Config<'_>, half: usize) -> Result<Vec<f32>, FamilyError> {
    let short = scaling.optional("short_factor");
    if short != scaling.optional("long_factor") {
        return Err(FamilyError::Unsupported {
            what: "longrope that changes its factors with the length".into(),
            hint: "factors must be the same at every length".into(),
        });
    }
    let numbers = |v: &Value| v.as_array()?.iter().map(|n| n.as_f64().map(|n| n as f32)).collect::<Option<Vec<f32>>>();
    short.and_then(numbers).filter(|f| f.len() == half).ok_or_else(|| FamilyError::BadKey {
        key: "short_factor".into(),
        got: short.map_or("nothing".into(), Value::to_string),
        expected: format!("{half} numbers"),
    })
}

/// `rope_scaling` of a published configuration that means `rope`.
pub fn write(rope: &Rope, head_dim: u64) -> Value {
    let ones = vec![1.0; (head_dim / 2) as usize];
    let factors = if rope.factors.is_empty() { &ones } else { &rope.factors };
    let same = factors.iter().all(|f| *f == factors[0]);
    if rope.attention_factor != 1.0 {
        return longrope(factors, rope.attention_factor);
    }
    if same {
        return if factors[0] == 1.0 { Value::Null } else { json!({ "factor": factors[0], "rope_type": "linear" }) };
    }
    match Llama3::fit(f64::from(rope.theta), head_dim, factors) {
        Some(l) => json!({
            "factor": l.factor,
            "high_freq_factor": l.high_freq_factor,
            "low_freq_factor": l.low_freq_factor,
            "original_max_position_embeddings": l.original_max_position_embeddings as u64,
            "rope_type": "llama3",
        }),
        None => longrope(factors, rope.attention_factor),
    }
}

fn longrope(factors: &[f32], attention_factor: f32) -> Value {
    json!({
        "attention_factor": attention_factor,
        "long_factor": factors,
        "rope_type": "longrope",
        "short_factor": factors,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn llama3(context: f64) -> Llama3 {
        Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: context }
    }

    #[test]
    fn published_parameters_come_back_from_their_factors() {
        for (theta, head_dim, context) in [(5e5, 64, 8192.0), (5e5, 128, 8192.0), (5e5, 32, 64.0)] {
            let scaling = llama3(context);
            let factors = scaling.factors(theta, head_dim);
            assert_eq!((factors[0], factors[factors.len() - 1]), (1.0, 32.0));
            assert_eq!(Llama3::fit(theta, head_dim, &factors), Some(scaling), "head_dim {head_dim}");
        }
    }

    #[test]
    fn any_other_factors_are_written_as_longrope() {
        for (factors, attention_factor) in [(vec![1.0, 3.0, 2.0, 5.0], 1.0), (vec![1.0; 4], 1.25)] {
            let rope = Rope { theta: 1e4, factors, attention_factor };
            let written = write(&rope, 8);
            assert_eq!(written["rope_type"], "longrope");
            let read_back = read(&Config::new(&written).unwrap(), 1e4, 8).unwrap();
            assert_eq!(read_back, (rope.factors, rope.attention_factor));
        }
        assert_eq!(write(&Rope { theta: 1e4, factors: vec![], attention_factor: 1.0 }, 8), Value::Null);
    }

    #[test]
    fn a_rule_that_is_not_known_is_refused() {
        let yarn = json!({ "rope_type": "yarn", "factor": 4.0 });
        let refused = read(&Config::new(&yarn).unwrap(), 1e4, 8).unwrap_err();
        assert_eq!(refused.to_string(), "RoPE scaling `yarn` is not supported");
    }
}
