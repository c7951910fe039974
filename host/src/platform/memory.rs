//! Memory of this process and of the machine.

use super::cgroup;

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Anonymous, shared and swapped-out memory: what cannot be given back to the file system.
    pub anonymous: u64,
    /// Resident memory, mapped files included, at most so far.
    pub peak_resident: u64,
}

/// What this process uses now; `None` where the system does not tell.
pub fn own_memory() -> Option<MemoryUsage> {
    parse_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Memory that programs can still take without swapping and within the limits of their containers, bytes; `None`
/// where the system does not tell.
pub fn available_memory() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| field(&text, "MemAvailable:"));
    machine.into_iter().chain(cgroup::available_memory()).min()
}

fn parse_status(status: &str) -> Option<MemoryUsage> {
    let anonymous = ["RssAnon:", "RssShmem:", "VmSwap:"].map(|name| field(status, name));
    Some(MemoryUsage {
        anonymous: anonymous[0]? + anonymous[1].unwrap_or(0) + anonymous[2].unwrap_or(0),
        peak_resident: field(status, "VmHWM:")?,
    })
}

/// A `Name:   123 kB` line, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn mapped_files_are_no_anonymous_memory() {
        let status = "Name:\thost\nVmHWM:\t  9000 kB\nRssAnon:\t  100 kB\nRssFile:\t 8000 kB\nRssShmem:\t 20 kB\nVmSwap:\t 3 kB\n";
        let usage = parse_status(status).unwrap();
        assert_eq!(usage, MemoryUsage { anonymous: 123 * 1024, peak_resident: 9000 * 1024 });
        assert_eq!(parse_status("Name:\tzombie\n"), None);
    }
}
