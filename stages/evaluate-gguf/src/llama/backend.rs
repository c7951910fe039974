//! What must happen once a process, before anything else of llama.cpp.

use std::ffi::CStr;
use std::sync::Once;

use llama_cpp_sys_2 as ffi;

use super::{LlamaError, log};

static STARTED: Once = Once::new();

/// Starts llama.cpp unless it has been started.
///
/// # Errors
/// Where the processor lacks the instructions that the build uses: its first kernel would end the process.
pub(super) fn start() -> Result<(), LlamaError> {
    let missing = missing_instructions();
    if !missing.is_empty() {
        return Err(LlamaError::Processor { missing });
    }
    STARTED.call_once(|| {
        log::install();
        // SAFETY: called once, before any other function of the library but the log's.
        unsafe { ffi::llama_backend_init() }
    });
    Ok(())
}

/// The version of llama.cpp, for lineage: its figures change with its kernels.
pub fn version() -> String {
    // SAFETY: returns a static zero-terminated string.
    unsafe { CStr::from_ptr(ffi::llama_version()) }.to_string_lossy().into_owned()
}

/// The same list as in `.cargo/config.toml`.
#[cfg(target_arch = "x86_64")]
fn missing_instructions() -> Vec<&'static str> {
    [
        ("SSE4.2", is_x86_feature_detected!("sse4.2")),
        ("AVX", is_x86_feature_detected!("avx")),
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("BMI2", is_x86_feature_detected!("bmi2")),
        ("FMA", is_x86_feature_detected!("fma")),
        ("F16C", is_x86_feature_detected!("f16c")),
    ]
    .into_iter()
    .filter_map(|(name, there)| (!there).then_some(name))
    .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn missing_instructions() -> Vec<&'static str> {
    Vec::new()
}
