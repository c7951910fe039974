//! The programs that we are measured against, in a Python environment of their own: gigabytes, so only on demand.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::{env, fs};

use serde::de::DeserializeOwned;

/// What pip installs; a change here installs again.
const PINS: [&str; 8] = [
    "torch==2.15.0",
    "transformers==5.23.0",
    "peft==0.21.2",
    "numpy==2.4.6",
    "safetensors==0.8.0",
    // llama.cpp's converter imports these.
    "gguf==0.19.0",
    "sentencepiece==0.2.3",
    "protobuf==7.36.2",
];
/// Names a Python that has all of this already.
const OWN_PYTHON: &str = "PEERS_PYTHON";

/// Why a peer did not speak.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// A program does not start.
    #[error("cannot start `{}`", program.display())]
    Start { program: PathBuf, source: io::Error },
    /// A program failed; it has said why.
    #[error("`{what}` failed: {status}")]
    Failed { what: String, status: ExitStatus },
    /// A script's last words are no JSON.
    #[error("`{what}` printed what cannot be understood")]
    Output { what: String, source: serde_json::Error },
    /// A file operation failed.
    #[error("cannot write `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// A Python with PyTorch, transformers and PEFT.
pub struct Peers {
    python: PathBuf,
}

impl Peers {
    /// The Python that `PEERS_PYTHON` names, else one in `target/peers`, made on the first call.
    ///
    /// # Errors
    /// Where Python or one of the packages cannot be brought.
    pub fn bring(root: &Path) -> Result<Self, PeerError> {
        if let Some(python) = env::var_os(OWN_PYTHON).filter(|value| !value.is_empty()) {
            return Ok(Self { python: python.into() });
        }
        let home = root.join("target/peers");
        let python = home.join("bin/python");
        let stamp = home.join("installed");
        if fs::read_to_string(&stamp).is_ok_and(|text| text == PINS.join("\n")) {
            return Ok(Self { python });
        }
        eprintln!("bringing PyTorch, transformers and PEFT into `{}`", home.display());
        run(Command::new("python3").args(["-m", "venv"]).arg(&home), "python3 -m venv")?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PINS), "pip install")?;
        fs::write(&stamp, PINS.join("\n")).map_err(|source| PeerError::Io { path: stamp, source })?;
        Ok(Self { python })
    }

    /// The Python that has the packages.
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// Runs a script that says itself what it does.
    ///
    /// # Errors
    /// Where the script fails.
    pub fn run<A: AsRef<OsStr>>(&self, script: &Path, args: impl IntoIterator<Item = A>) -> Result<(), PeerError> {
        run(&mut self.command(script, args), &script.display().to_string())
    }

    fn command<A: AsRef<OsStr>>(&self, script: &Path, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.python);
        // PEFT writes lists out of sets: without a fixed seed their order differs from run to run.
        command.env("PYTHONHASHSEED", "0").arg(script).args(args);
        command
    }

    /// Runs a script and reads the JSON object on its stdout.
    ///
    /// # Errors
    /// Where the script fails or prints something else.
    pub fn ask<T: DeserializeOwned, A: AsRef<OsStr>>(
        &self,
        script: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> Result<T, PeerError> {
        let what = script.display().to_string();
        let output = self.command(script, args).stderr(Stdio::inherit()).output();
        let output = output.map_err(|source| PeerError::Start { program: self.python.clone(), source })?;
        if !output.status.success() {
            return Err(PeerError::Failed { what, status: output.status });
        }
        serde_json::from_slice(&output.stdout).map_err(|source| PeerError::Output { what, source })
    }
}

fn run(command: &mut Command, what: &str) -> Result<(), PeerError> {
    let program = PathBuf::from(command.get_program());
    let status = command.status().map_err(|source| PeerError::Start { program, source })?;
    if status.success() { Ok(()) } else { Err(PeerError::Failed { what: what.into(), status }) }
}
