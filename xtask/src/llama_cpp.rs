//! llama.cpp with its converter and tools, built from the sources that llama-cpp-python carries.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::{Workspace, WorkspaceError, run};

const PACKAGE: &str = "llama-cpp-python";
const VERSION: &str = "0.3.36";
/// Names an unpacked and built llama-cpp-python.
const OWN_CHECKOUT: &str = "LLAMA_CPP_PYTHON";
const TARGETS: [&str; 3] = ["llama", "ggml-base", "llama-quantize"];

/// An unpacked llama-cpp-python with a built llama.cpp in it.
pub struct LlamaCpp {
    /// llama-cpp-python's directory.
    pub bindings: PathBuf,
}

impl LlamaCpp {
    /// The checkout that `LLAMA_CPP_PYTHON` names, else one in `target/llama-cpp`, made on the first call.
    ///
    /// # Errors
    /// Where it cannot be downloaded or does not compile.
    pub fn bring(workspace: &Workspace) -> Result<Self, WorkspaceError> {
        if let Some(own) = env::var_os(OWN_CHECKOUT).filter(|value| !value.is_empty()) {
            return Ok(Self { bindings: own.into() });
        }
        let home = workspace.root().join("target/llama-cpp");
        let found = Self { bindings: home.join(format!("llama_cpp_python-{VERSION}")) };
        if !found.sources().is_dir() {
            download(&home)?;
        }
        if !found.quantize().is_file() {
            build(workspace, &found.sources())?;
        }
        Ok(found)
    }

    /// llama.cpp's sources: the converter lies there.
    pub fn sources(&self) -> PathBuf {
        self.bindings.join("vendor/llama.cpp")
    }

    /// Where libraries and tools were built.
    pub fn built(&self) -> PathBuf {
        self.sources().join("build/bin")
    }

    /// The program `llama-quantize`.
    pub fn quantize(&self) -> PathBuf {
        self.built().join("llama-quantize")
    }
}

fn download(home: &Path) -> Result<(), WorkspaceError> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE, "--dest"]);
    run(pip.arg(home).arg(format!("{PACKAGE}=={VERSION}")))?;
    let archive = home.join(format!("llama_cpp_python-{VERSION}.tar.gz"));
    // The archive's `.git` points outside of it, so a build would look for a version there, again and again.
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--exclude=.git", "--file"]).arg(archive).arg("--directory").arg(home);
    run(&mut tar)
}

/// A stock build: the quantizers' bytes are those of everybody's `llama-quantize`.
fn build(workspace: &Workspace, sources: &Path) -> Result<(), WorkspaceError> {
    let cmake = workspace.root().join("target/toolchain/python/cmake/data/bin/cmake");
    let build = sources.join("build");
    let mut configure = Command::new(&cmake);
    configure.arg("-S").arg(sources).arg("-B").arg(&build);
    for option in ["CMAKE_BUILD_TYPE=Release", "BUILD_SHARED_LIBS=ON", "GGML_NATIVE=OFF", "LLAMA_CURL=OFF"] {
        configure.arg(format!("-D{option}"));
    }
    for part in ["TESTS", "EXAMPLES", "SERVER", "UI", "WEBUI"] {
        configure.arg(format!("-DLLAMA_BUILD_{part}=OFF"));
    }
    run(&mut configure)?;
    let mut make = Command::new(&cmake);
    make.arg("--build").arg(&build).args(["--parallel", "2", "--target"]).args(TARGETS);
    run(&mut make)
}
