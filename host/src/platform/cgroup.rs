//! Limits that a container or a service manager sets: control groups, both versions.

use std::fs;
use std::path::{Path, PathBuf};

/// What one version calls its files.
struct Version {
    /// Below `/sys/fs/cgroup`.
    mount: &'static str,
    limit: &'static str,
    used: &'static str,
    /// Lines of `memory.stat` that count file pages, which the system takes back when memory is short.
    reclaimable: [&'static str; 2],
}

const V1: Version = Version {
    mount: "memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    reclaimable: ["total_inactive_file", "total_active_file"],
};
const V2: Version =
    Version { mount: "", limit: "memory.max", used: "memory.current", reclaimable: ["inactive_file", "active_file"] };

/// Bytes that this process can still take before a control group around it is full; `None` where none has a limit.
pub fn available_memory() -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    within(Path::new("/sys/fs/cgroup"), &membership)
}

/// A group counts with all groups around it.
fn within(root: &Path, membership: &str) -> Option<u64> {
    let groups = membership.lines().filter_map(|line| group(root, line));
    groups
        .flat_map(|(version, group)| group.ancestors().map(|at| room(at, version)).collect::<Vec<_>>())
        .flatten()
        .min()
}

/// The version and directory of a line `4:memory:/path` or `0::/path`.
fn group<'a>(root: &Path, line: &str) -> Option<(&'a Version, PathBuf)> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let version = match controllers {
        "" => &V2,
        list if list.split(',').any(|name| name == "memory") => &V1,
        _ => return None,
    };
    Some((version, root.join(version.mount).join(path.trim_start_matches('/'))))
}

/// What is left in one group; an unlimited one says `max` or a number beyond all memory, which the smallest of all
/// rooms never is.
fn room(group: &Path, version: &Version) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let (limit, used) = (number(version.limit)?, number(version.used)?);
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let files: u64 = version.reclaimable.iter().filter_map(|name| stat_line(&stat, name)).sum();
    Some(limit.saturating_sub(used.saturating_sub(files)))
}

fn stat_line(stat: &str, name: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(root: &Path, group: &str, files: &[(&str, &str)]) {
        let dir = root.join(group);
        fs::create_dir_all(&dir).unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.join(name), text).unwrap());
    }

    #[test]
    fn the_tightest_group_around_counts_and_file_pages_are_free() {
        let root = tempfile::tempdir().unwrap();
        let inner = [("memory.max", "max\n"), ("memory.current", "50\n")];
        write(root.path(), "outer/inner", &inner);
        assert_eq!(within(root.path(), "0::/outer/inner\n"), None);
        let stat = "anon 20\nfile 30\ninactive_file 25\nactive_file 5\n";
        write(root.path(), "outer", &[("memory.max", "100\n"), ("memory.current", "70\n"), ("memory.stat", stat)]);
        assert_eq!(within(root.path(), "0::/outer/inner\n"), Some(60));
        assert_eq!(within(root.path(), "0::/elsewhere\n"), None);
    }

    #[test]
    fn the_first_version_has_other_names_and_a_mount_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let stat = "inactive_file 1\ntotal_inactive_file 8\ntotal_active_file 2\n";
        let files = [("memory.limit_in_bytes", "100"), ("memory.usage_in_bytes", "95"), ("memory.stat", stat)];
        write(root.path(), "memory/job", &files);
        assert_eq!(within(root.path(), "9:cpu,cpuacct:/job\n4:memory:/job\n0::/\n"), Some(15));
    }

    #[test]
    fn a_full_group_has_nothing_left() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "full", &[("memory.max", "100"), ("memory.current", "130")]);
        assert_eq!(within(root.path(), "0::/full"), Some(0));
    }
}
