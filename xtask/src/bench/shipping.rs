//! `cargo xtask bench shipping`: fusing and converting a checkpoint of 1.5B parameters, beside PEFT's merge, llama.cpp's
//! converter, and the floor that the disk sets: copying what comes out, bringing it to disk and hashing it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::BenchError;
use super::figures::median;
use super::free_memory;
use crate::host::{self, RunReport, at};
use crate::llama_cpp::LlamaCpp;
use crate::peers::Peers;
use crate::workspace::{Workspace, run};

/// Rounds that count, after one that fills the page cache.
const ROUNDS: usize = 5;
/// Our stages; the first one's peer is PEFT, the others' the converter.
const STAGES: [&str; 3] = ["fuse", "bf16", "q8_0"];

/// What PEFT's script prints.
#[derive(Deserialize)]
struct Merge {
    seconds: f64,
    anonymous: u64,
}

/// Seconds of one stage and of its rivals, a value a round.
#[derive(Default)]
struct Times {
    ours: Vec<f64>,
    floor: Vec<f64>,
    theirs: Vec<f64>,
    /// Peak of our anonymous memory, bytes.
    anonymous: u64,
}

/// Where the measured files lie.
struct Place<'a> {
    workspace: &'a Workspace,
    directory: PathBuf,
    peers: Peers,
    llama_cpp: LlamaCpp,
    program: PathBuf,
}

/// Measures all sides in turn and prints the table.
///
/// # Errors
/// Where one side fails.
pub fn bench(workspace: &Workspace) -> Result<(), BenchError> {
    workspace.prepare()?;
    let place = Place {
        workspace,
        directory: workspace.root().join("target/bench/shipping"),
        program: Workspace::host(&workspace.build()?),
        peers: Peers::bring(workspace.root())?,
        llama_cpp: LlamaCpp::bring(workspace)?,
    };
    fs::create_dir_all(&place.directory).map_err(at(&place.directory))?;
    place.make_model()?;
    let mut times: [Times; 3] = Default::default();
    let mut peft_memory = 0;
    for round in 0..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        let mut round_times = place.round(&mut peft_memory)?;
        if round > 0 {
            times.iter_mut().zip(&mut round_times).for_each(|(all, one)| all.take(one));
        }
    }
    println!("\n{}", table(&times, peft_memory));
    Ok(())
}

impl Times {
    fn take(&mut self, other: &mut Times) {
        self.ours.append(&mut other.ours);
        self.floor.append(&mut other.floor);
        self.theirs.append(&mut other.theirs);
        self.anonymous = self.anonymous.max(other.anonymous);
    }
}

impl Place<'_> {
    fn script(&self, name: &str) -> PathBuf {
        self.workspace.root().join("xtask/bench").join(name)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn make_model(&self) -> Result<(), BenchError> {
        let checkpoint = self.workspace.root().join("xtask/parity/checkpoint.toml");
        let report = host::run(&self.program, &checkpoint, &self.directory, |command| {
            command.env("HOST_CACHE_DIR", self.at("tokenizer"));
        })?;
        let tokenizer = report.output("checkpoint", "model")?.to_owned();
        Ok(self.peers.run(&self.script("shipping_model.py"), [tokenizer, self.at("model"), self.at("adapter")])?)
    }

    /// Every side once, each alone on the machine and with the same memory, and one stage's sides right after each other:
    /// how quick a disk is changes within a minute.
    fn round(&self, peft_memory: &mut u64) -> Result<[Times; 3], BenchError> {
        let mut times: [Times; 3] = Default::default();
        for (stage, times) in STAGES.into_iter().zip(&mut times) {
            self.ours(stage, times)?;
            times.theirs.push(if stage == "fuse" { self.merge(peft_memory)? } else { self.convert(stage)? });
            eprintln!("{stage}: {:.1?} s, floor {:.1?} s, peer {:.1?} s", times.ours, times.floor, times.theirs);
        }
        Ok(times)
    }

    /// One of our stages and its floor.
    fn ours(&self, stage: &str, times: &mut Times) -> Result<(), BenchError> {
        let cache = self.at("cache");
        remove(&cache)?; // what was measured once would not be measured again
        free_memory::touch();
        let pipeline = if stage == "fuse" { "shipping_fuse.toml" } else { "shipping_convert.toml" };
        let report = host::run(&self.program, &self.script(pipeline), &self.directory, |command| {
            command.env("HOST_CACHE_DIR", &cache);
            if stage != "fuse" {
                command.args(["--set", &format!("vars.quantizer=\"{stage}\"")]);
            }
        })?;
        let finished = report.stage("made")?;
        times.ours.push(finished.seconds);
        times.anonymous = finished.memory.unwrap_or(0);
        free_memory::touch();
        times.floor.push(self.floor(&made(&report)?)?);
        remove(&cache)
    }

    /// Seconds of PEFT's merge.
    fn merge(&self, peft_memory: &mut u64) -> Result<f64, BenchError> {
        free_memory::touch();
        let merge: Merge =
            self.peers.ask(&self.script("peft_merge.py"), ["model", "adapter", "merged"].map(|n| self.at(n)))?;
        *peft_memory = merge.anonymous.max(*peft_memory);
        remove(&self.at("merged"))?;
        Ok(merge.seconds)
    }

    /// Seconds to copy a file, bring the copy to disk and hash it.
    fn floor(&self, file: &Path) -> Result<f64, BenchError> {
        let copy = self.at("copy");
        let seconds = || -> io::Result<f64> {
            let start = Instant::now();
            fs::copy(file, &copy)?;
            File::open(&copy)?.sync_all()?;
            hash(&copy)?;
            Ok(start.elapsed().as_secs_f64())
        };
        let seconds = seconds().map_err(at(&copy))?;
        remove(&copy)?;
        Ok(seconds)
    }

    /// Seconds of llama.cpp's converter, as a user starts it.
    fn convert(&self, kind: &str) -> Result<f64, BenchError> {
        free_memory::touch();
        let out = self.at("theirs.gguf");
        let mut command = Command::new(self.peers.python());
        command.arg(self.llama_cpp.sources().join("convert_hf_to_gguf.py")).arg(self.at("model"));
        command.arg("--outfile").arg(&out).args(["--outtype", kind]);
        let start = Instant::now();
        run(&mut command)?;
        let seconds = start.elapsed().as_secs_f64();
        remove(&out)?;
        Ok(seconds)
    }
}

/// The file with the weights that the measured stage made.
fn made(report: &RunReport) -> Result<PathBuf, BenchError> {
    let artifact = report.output("made", "model")?;
    let checkpoint = artifact.join("model.safetensors");
    Ok(if checkpoint.exists() { checkpoint } else { host::gguf_in(artifact)? })
}

fn hash(path: &Path) -> io::Result<()> {
    let (mut file, mut block, mut hasher) = (File::open(path)?, vec![0; 1 << 20], Sha256::new());
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            std::hint::black_box(hasher.finalize());
            return Ok(());
        }
        hasher.update(&block[..read]);
    }
}

fn remove(path: &Path) -> Result<(), BenchError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error).into()),
        _ => Ok(()),
    }
}

/// Medians as Markdown.
fn table(times: &[Times; 3], peft_memory: u64) -> String {
    let mut text =
        "| 1.5B shape, bf16 | host | copy + sync + hash | host / floor | peer | host / peer | peak anonymous |\n\
                    |---|---|---|---|---|---|---|\n"
            .to_owned();
    let peers = ["PEFT's merge", "the converter", "the converter"];
    for ((stage, times), peer) in STAGES.into_iter().zip(times).zip(peers) {
        let of = |values: &Vec<f64>| median(values.clone()).unwrap_or(f64::NAN);
        let (ours, floor, theirs) = (of(&times.ours), of(&times.floor), of(&times.theirs));
        text += &format!(
            "| {stage} | {ours:.1} s | {floor:.1} s | {:.2} | {peer} {theirs:.1} s | {:.2} | {:.0} MB |\n",
            ours / floor,
            ours / theirs,
            times.anonymous as f64 / 1e6
        );
    }
    text + &format!("\nPEFT's peak of anonymous memory: {:.0} MB.\n", peft_memory as f64 / 1e6)
}
