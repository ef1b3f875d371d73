//! What this process has used of the machine.

use std::time::Duration;

/// Most memory that the process has had at a time, in bytes: anonymous pages and pages of mapped
/// files. `None` where the system does not say (it does on Linux, as `VmHWM`).
#[must_use]
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    parse(&status)
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Processor time of the calling thread so far. `None` where the system does not say (it does on Linux,
/// in `schedstat`).
#[must_use]
pub fn thread_time() -> Option<Duration> {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: u64 = schedstat.split_whitespace().next()?.parse().ok()?;
    // A kernel without these counts says 0 for ever.
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        let status = "Name:\tdemask\nVmPeak:\t  900 kB\nVmHWM:\t    4660 kB\nVmRSS:\t 10 kB\n";
        assert_eq!(parse(status), Some(4660 * 1024));
        assert_eq!(parse("VmHWM:\t 4660\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn time_of_a_thread_grows_with_its_work() {
        let Some(before) = thread_time() else {
            eprintln!("SKIPPED: this system does not say what a thread has used");
            return;
        };
        let started = std::time::Instant::now();
        let mut sum = 0u64;
        while started.elapsed() < Duration::from_millis(60) {
            sum = std::hint::black_box(sum.wrapping_mul(3) + 1);
        }
        let used = thread_time().unwrap().saturating_sub(before);
        assert!(used <= started.elapsed() + Duration::from_millis(20), "{used:?} {sum}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_was_touched_counts() {
        let touched = vec![1u8; 64 << 20];
        assert!(touched.iter().all(|byte| *byte == 1));
        assert!(peak_memory().unwrap() >= 64 << 20);
    }
}
