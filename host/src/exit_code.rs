//! How `host` ends. Never 1 (what a runtime uses for "something") or 101 (a panic of this program).

/// Done.
pub const OK: u8 = 0;
/// The command line can't be understood.
pub const USAGE: u8 = 2;
/// The pipeline file is wrong, or a `--set` flag.
pub const PIPELINE: u8 = 3;
/// The plan was refused: it would not work, or not fit. Nothing was made.
pub const REFUSED: u8 = 4;
/// A stage failed and said why.
pub const STAGE: u8 = 5;
/// A plugin crashed, hung or can't be loaded; or a worker was killed.
pub const WORKER: u8 = 6;
/// Stopped on request.
pub const CANCELLED: u8 = 7;
/// The machine failed: files, disk, cache.
pub const IO: u8 = 8;

/// The same for `--help`.
pub const HELP: &str = "Exit codes: 0 done, 2 wrong command line, 3 wrong pipeline, 4 the plan was refused, \
    5 a stage failed, 6 a plugin or worker crashed, 7 stopped on request, 8 files, disk or cache";
