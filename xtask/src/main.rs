//! What people do with this repository: `cargo xtask quickstart`, `cargo xtask test`, and measuring.

mod bench;
mod fixtures;
mod host;
mod llama_cpp;
mod matrix;
mod parity;
mod peers;
mod pip;
mod quickstart;
mod test;
mod toolchain;
mod workspace;

use std::error::Error;
use std::process::ExitCode;

use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  quickstart [ARG…]   fine-tune a small model, convert it, prove it in llama.cpp, and show what changed;
                      arguments go to `host run`, e.g. `--set stages.train.with.epochs=2`
  test [ARG…]         prepare, build and check everything, and run all tests; arguments go to the test runner
  matrix              a tiny model of every kind through the whole pipeline; writes README's table of families
  bench [PART…]       here and in the programs of others, side by side; brings PyTorch first, some gigabytes; all parts
                      or some: training (beside PEFT), shipping (fusing and converting 1.5B parameters, beside PEFT's
                      merge and llama.cpp's converter; 15 GB of disk)
  parity [PART…]      what transformers, PEFT and llama.cpp give, held against what we give; all parts or some:
                      golden (the tests' golden files, made again), convert (GGUF files, byte by byte),
                      bases and families (GGUF files as bases, to the bit), spellings (of transformers 5 and mlx-lm),
                      tokens (ids on 10,000 texts a vocabulary), lora (a GGUF LoRA in llama.cpp), adapters (PEFT's
                      of every family, as GGUF LoRA in llama.cpp),
                      peft (50 training steps, and the result loaded in PEFT and transformers);
                      FIXTURES names a directory of `models/` that convert, bases and tokens take too
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let workspace = Workspace::here();
    let result: Result<(), Box<dyn Error>> = match args.split_first().map(|(command, rest)| (command.as_str(), rest)) {
        Some(("quickstart", rest)) => quickstart::quickstart(&workspace, rest).map_err(Into::into),
        Some(("test", rest)) => test::test(&workspace, rest).map_err(Into::into),
        Some(("parity", rest)) => parity::parity(&workspace, rest).map_err(Into::into),
        Some(("matrix", [])) => matrix::matrix(&workspace).map_err(Into::into),
        Some(("bench", rest)) => bench::bench(&workspace, rest).map_err(Into::into),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// An error with everything that caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut said = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        said.push(cause.to_string());
        source = cause.source();
    }
    said.dedup(); // a transparent error says what its source says
    said.join(": ")
}
