//! A worker's life as a process.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, setrlimit};

/// Variables that bound the thread pools of whatever a plugin links: each has pools of its own.
pub fn thread_variables(threads: usize) -> [(&'static str, String); 4] {
    let threads = threads.max(1).to_string();
    ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
        .map(|name| (name, threads.clone()))
}

/// Offers this process first where the system runs out of memory: a stage can be run again, a desktop cannot.
pub fn prefer_as_oom_victim() {
    if cfg!(target_os = "linux") {
        // Without the file the system chooses as it likes.
        let _ = std::fs::write("/proc/self/oom_score_adj", "800");
    }
}

/// The name of a signal number, as shells print it.
pub fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        _ => "a signal",
    }
}

/// Takes stdout away from everybody else: what is printed from now on goes to stderr, and the pipe is not
/// inherited by child processes.
pub fn claim_stdout() -> io::Result<File> {
    let wire = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(wire.into())
}

/// Asks for SIGTERM when the thread that started this process ends.
pub fn follow_parent() {
    // A refusal is harmless: the end of stdin says the same.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
}

/// A crash of a training process would otherwise write gigabytes.
pub fn forbid_core_dumps() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Makes allocations beyond `bytes` fail; mapped files do not count.
pub fn limit_private_memory(bytes: u64) -> io::Result<()> {
    Ok(setrlimit(Resource::Data, Rlimit { current: Some(bytes), maximum: Some(bytes) })?)
}

/// Puts a child into a process group of its own, out of reach of the terminal's Ctrl-C.
pub fn own_process_group(command: &mut Command) {
    command.process_group(0);
}

/// Asks a process group to end.
pub fn terminate_group(leader: u32) {
    signal_group(leader, Signal::TERM);
}

/// Ends a process group.
pub fn kill_group(leader: u32) {
    signal_group(leader, Signal::KILL);
}

fn signal_group(leader: u32, signal: Signal) {
    // A group that is gone already is what was wanted.
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}

/// The signal that ended a process.
pub fn terminating_signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}

/// Processor time that this process has used.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Ends this process at once. Destructors of C libraries inside plugins would run in a normal exit, and one that
/// crashes would turn a finished job into a failed one.
pub fn end_process(code: u8) -> ! {
    // SAFETY: `_exit` takes any code, returns never and touches no memory of ours.
    unsafe { libc::_exit(i32::from(code)) }
}
