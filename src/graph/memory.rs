//! What memory is free: on this machine, and in the container (control group) that the process runs in.
//!
//! A container's counter of used memory holds the page cache too, which the kernel gives back when a process asks for
//! memory. What cannot be given back counts here: anonymous pages, shared memory, and the kernel's own structures.

use std::path::{Path, PathBuf};

/// Free memory of this machine, or of the container that the process runs in; none where the system does not tell.
pub fn free_memory() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let machine = system.available_memory();
    let container = match cfg!(target_os = "linux") {
        true => of_groups(&|path| std::fs::read_to_string(path).ok()),
        false => None,
    };
    Some(container.map_or(machine, |c| c.min(machine))).filter(|m| *m > 0)
}

/// A number in a text by itself; none for `max`.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The value of a key in lines of `key value`; zero where it does not stand.
fn value(stat: &str, key: &str) -> u64 {
    let mut words = stat.lines().map(str::split_whitespace);
    let found = words.find_map(|mut w| (w.next() == Some(key)).then(|| w.next()).flatten());
    found.and_then(number).unwrap_or(0)
}

/// What a group of version 2 has left, from its `memory.max`, `memory.high` and `memory.stat`; none without a limit.
/// A group above `memory.high` is slowed down until it gives memory back, so that is a limit as well.
fn left_v2(max: &str, high: &str, stat: &str) -> Option<u64> {
    let limit = [max, high].into_iter().filter_map(number).min()?;
    let keys = [
        "anon",
        "shmem",
        "slab_unreclaimable",
        "kernel_stack",
        "pagetables",
    ];
    Some(limit.saturating_sub(keys.iter().map(|k| value(stat, k)).sum()))
}

/// What a group of version 1 has left, from its `memory.limit_in_bytes` and `memory.stat`, whose totals count the
/// groups below it. Without a limit the file holds a number near 2^63, which leaves more than any machine has.
fn left_v1(limit: &str, stat: &str) -> Option<u64> {
    let resident = value(stat, "total_rss") + value(stat, "total_shmem");
    Some(number(limit)?.saturating_sub(resident))
}

/// The process's groups in `/proc/self/cgroup`: the path of version 2, and that of version 1's memory controller.
fn groups(text: &str) -> [Option<&str>; 2] {
    let find = |is: &dyn Fn(&str) -> bool| {
        text.lines().find_map(|l| {
            let mut parts = l.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            is(controllers).then_some(path)
        })
    };
    [
        find(&|c| c.is_empty()),
        find(&|c| c.split(',').any(|c| c == "memory")),
    ]
}

/// The folders of a group and of those that it is in, below `root`. Inside a container the group's path may be that
/// outside, and then only the root is there.
fn folders(root: &str, group: &str) -> Vec<PathBuf> {
    let group = Path::new(group.trim_start_matches('/'));
    group.ancestors().map(|a| Path::new(root).join(a)).collect()
}

/// The least that the process's groups have left; none where none has a limit. `read` gives the text of a file.
fn of_groups(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let text = read(Path::new("/proc/self/cgroup"))?;
    let [v2, v1] = groups(&text);
    let in_v2 = v2.into_iter().flat_map(|g| folders("/sys/fs/cgroup", g));
    let in_v1 = v1
        .into_iter()
        .flat_map(|g| folders("/sys/fs/cgroup/memory", g));
    let left_in_v2 = in_v2.filter_map(|f| {
        let text = |name: &str| read(&f.join(name)).unwrap_or_default();
        left_v2(
            &text("memory.max"),
            &text("memory.high"),
            &text("memory.stat"),
        )
    });
    let left_in_v1 = in_v1.filter_map(|f| {
        let text = |name: &str| read(&f.join(name)).unwrap_or_default();
        left_v1(&text("memory.limit_in_bytes"), &text("memory.stat"))
    });
    left_in_v2.chain(left_in_v1).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const MIB: u64 = 1 << 20;

    /// 300 MiB of anonymous pages, 20 of shared memory, 15 of the kernel's, and 3 GiB of page cache.
    fn stat_v2() -> String {
        let of = |key: &str, mib: u64| format!("{key} {}\n", mib * MIB);
        [
            of("anon", 300),
            of("file", 3 * 1024),
            of("kernel_stack", 1),
            of("pagetables", 4),
            of("shmem", 20),
            of("anon_thp", 100),
            of("inactive_file", 2048),
            of("slab_reclaimable", 50),
            of("slab_unreclaimable", 10),
        ]
        .concat()
    }

    #[test]
    fn a_page_cache_is_free_memory() {
        let (limit, stat) = (format!("{}\n", 4096 * MIB), stat_v2());
        assert_eq!(left_v2(&limit, "max\n", &stat), Some((4096 - 335) * MIB));
        // The lower of both limits; none; less than is used.
        let high = format!("{}\n", 1024 * MIB);
        assert_eq!(left_v2(&limit, &high, &stat), Some((1024 - 335) * MIB));
        assert_eq!(left_v2("max\n", &high, &stat), Some((1024 - 335) * MIB));
        assert_eq!(left_v2("max\n", "max\n", &stat), None);
        assert_eq!(left_v2("", "", ""), None);
        assert_eq!(left_v2("1048576\n", "max\n", &stat), Some(0));

        let stat = format!(
            "cache {c}\nrss {r}\nshmem 0\nhierarchical_memory_limit 1\ntotal_cache {c}\ntotal_rss {r}\n\
             total_rss_huge {r}\ntotal_shmem {s}\ntotal_inactive_file {c}\n",
            c = 3000 * MIB,
            r = 200 * MIB,
            s = 50 * MIB
        );
        assert_eq!(left_v1(&limit, &stat), Some((4096 - 250) * MIB));
        assert_eq!(left_v1("", &stat), None);
    }

    #[test]
    fn groups_of_both_versions_are_found() {
        let both = "4:cpu,cpuacct:/a\n3:memory:/docker/1:2\n1:name=systemd:/x\n0::/user/y\n";
        assert_eq!(groups(both), [Some("/user/y"), Some("/docker/1:2")]);
        assert_eq!(groups("0::/\n"), [Some("/"), None]);
        let all = folders("/r", "/a/b");
        assert_eq!(all, ["/r/a/b", "/r/a", "/r/"].map(PathBuf::from));
    }

    #[test]
    fn the_tightest_group_counts() {
        let mut files: HashMap<PathBuf, String> = HashMap::new();
        let mut put = |path: &str, text: &str| files.insert(path.into(), text.into());
        put("/proc/self/cgroup", "0::/slice/unit\n");
        // The unit itself has no limit, the slice it is in has one.
        put("/sys/fs/cgroup/slice/unit/memory.max", "max\n");
        put("/sys/fs/cgroup/slice/unit/memory.stat", "anon 1000\n");
        put("/sys/fs/cgroup/slice/memory.max", "5000\n");
        put("/sys/fs/cgroup/slice/memory.stat", "anon 3000\nfile 1900\n");
        let left = |files: &HashMap<PathBuf, String>| of_groups(&|p| files.get(p).cloned());
        assert_eq!(left(&files), Some(2000));
        files.insert("/sys/fs/cgroup/slice/unit/memory.max".into(), "1500".into());
        assert_eq!(left(&files), Some(500));
        // A container sees its own group as the root, whatever its path outside.
        let inside = HashMap::from([
            (PathBuf::from("/proc/self/cgroup"), "0::/../x\n".to_string()),
            ("/sys/fs/cgroup/memory.max".into(), "700\n".into()),
            ("/sys/fs/cgroup/memory.stat".into(), "anon 100\n".into()),
        ]);
        assert_eq!(left(&inside), Some(600));
        assert_eq!(left(&HashMap::new()), None);
    }
}
