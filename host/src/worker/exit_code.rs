//! How a worker ends. Never 1 (abi_stable's own exit on an unguarded panic), 2 (wrong arguments), 101 (a panic of this
//! program) or 126 and above (shells and signals), so that each code means one thing.

/// The job is done.
pub const OK: u8 = 0;
/// The stage failed, or broke its promise.
pub const STAGE: u8 = 70;
/// A plugin could not be loaded.
pub const PLUGIN: u8 = 71;
/// A plugin panicked.
pub const PANIC: u8 = 72;
/// Stopped on request.
pub const CANCELLED: u8 = 73;
/// The job file cannot be used.
pub const JOB: u8 = 74;

/// The exit code that belongs to an error's code.
pub(super) fn of(error: &stage_api::Error) -> u8 {
    match error.code.as_str() {
        stage_api::Error::CANCELLED => CANCELLED,
        stage_api::Error::PANIC => PANIC,
        "bad_job" => JOB,
        "not_a_plugin" => PLUGIN,
        code if code.starts_with("plugin_") => PLUGIN,
        _ => STAGE,
    }
}
