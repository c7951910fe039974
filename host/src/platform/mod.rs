//! What depends on the operating system, behind small functions. Linux is complete; on another Unix a function
//! does what it can and says so in its type (`Option`) or its doc.

#[cfg(not(unix))]
compile_error!("workers need process groups and signals; see `host/src/platform/`");

mod cgroup;
mod cpu;
mod files;
mod memory;
mod paths;
mod process;

pub use cpu::cpu_name;
pub use files::{Disk, FileIdentity, disk_of, link, sync_directory};
pub use memory::{MemoryUsage, available_memory, own_memory};
pub use paths::{cache_dir, data_dir, is_library, system_plugin_dir};
pub use process::{
    claim_stdout, cpu_time, end_process, follow_parent, forbid_core_dumps, kill_group, limit_private_memory,
    own_process_group, prefer_as_oom_victim, signal_name, terminate_group, terminating_signal, thread_variables,
};
