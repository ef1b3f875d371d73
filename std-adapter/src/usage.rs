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

/// Processor time of the calling thread so far. `None` where the system does not say (Linux and macOS do).
#[must_use]
#[cfg(any(target_os = "linux", target_os = "macos"))]
pub fn thread_time() -> Option<Duration> {
    // Not from `/proc`, where it stands still between two ticks of the scheduler: small models answer in
    // less.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Some(Duration::new(u64::try_from(now.tv_sec).ok()?, u32::try_from(now.tv_nsec).ok()?))
}

/// Processor time of the calling thread so far: this system does not say.
#[must_use]
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub fn thread_time() -> Option<Duration> {
    None
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
    fn time_of_a_thread_grows_with_its_work_alone() {
        let Some(mut before) = thread_time() else {
            eprintln!("SKIPPED: this system does not say what a thread has used");
            return;
        };
        for turn in 0..50 {
            // Some microseconds, far less than a tick.
            let work: u64 = (0..5000u64).map(std::hint::black_box).sum();
            let now = thread_time().unwrap();
            assert!(now > before, "turn {turn}: {now:?}, {work}");
            before = now;
        }
        std::thread::sleep(Duration::from_millis(60));
        let used = thread_time().unwrap().saturating_sub(before);
        assert!(used < Duration::from_millis(30), "{used:?} while it slept");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_was_touched_counts() {
        let touched = vec![1u8; 64 << 20];
        assert!(touched.iter().all(|byte| *byte == 1));
        assert!(peak_memory().unwrap() >= 64 << 20);
    }
}
