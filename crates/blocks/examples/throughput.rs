//! How fast rows become f32: GB/s of f32 written by each decoder and read by each encoder, one thread.
//!
//! `cargo run -p blocks --example throughput`. The panel of 256 rows × 2048 values (2 MB of f32) stays in cache, as the
//! panels of a matrix product do; weights of a real model come from memory, at 0.5 to 2 bytes a value.
//!
//! Seen on an AMD EPYC (Zen 5), with AVX2 / with the portable loop, decoding: f32 65 / 65, f16 34 / 8, bf16 75 / 75,
//! q4_0 56 / 27, q4_1 54 / 29, q5_0 27 / 11, q5_1 26 / 12, q8_0 83 / 41, q2_k 42 / 20, q3_k 26 / 12, q4_k 62 / 32,
//! q5_k 47 / 23, q6_k 49 / 21, iq4_nl 24 / 24, iq4_xs 23 / 23. Encoding on an Intel Xeon (family 6 model 167), with AVX2:
//! f16 10, bf16 17, q8_0 8.0, q4_0 7.0, q4_1 4.3.

use std::time::{Duration, Instant};

use blocks::{BlockError, decodable, decode_rows, encodable, encode_rows};

const VALUES: usize = 256 * 2048;

fn main() -> Result<(), BlockError> {
    let weights: Vec<f32> = (0..VALUES).map(|i| (i as f32 * 0.618_034).fract() * 0.2 - 0.1).collect();
    for stored_type in decodable() {
        let blocks = VALUES / stored_type.block_len() as usize;
        // Bytes below 0x30 make every scale finite and positive.
        let bytes: Vec<u8> = (0..blocks * stored_type.block_bytes() as usize).map(|i| (i * 37 % 0x30) as u8).collect();
        let mut values = vec![0.0; VALUES];
        let rate = gigabytes_per_second(|| decode_rows(stored_type, &bytes, &mut values))?;
        println!("decode {:8} {rate:6.1} GB/s of f32", stored_type.name());
    }
    for stored_type in encodable() {
        let blocks = VALUES / stored_type.block_len() as usize;
        let mut bytes = vec![0; blocks * stored_type.block_bytes() as usize];
        let rate = gigabytes_per_second(|| encode_rows(stored_type, &weights, &mut bytes))?;
        println!("encode {:8} {rate:6.1} GB/s of f32", stored_type.name());
    }
    Ok(())
}

/// The best of many passes over the panel within a quarter of a second.
fn gigabytes_per_second(mut pass: impl FnMut() -> Result<(), BlockError>) -> Result<f64, BlockError> {
    let (start, mut best) = (Instant::now(), Duration::MAX);
    while start.elapsed() < Duration::from_millis(250) {
        let begin = Instant::now();
        pass()?;
        best = best.min(begin.elapsed());
    }
    Ok((VALUES * size_of::<f32>()) as f64 / best.as_secs_f64() / 1e9)
}
