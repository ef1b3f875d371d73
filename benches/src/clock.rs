//! Many short runs of the same work.

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// What some runs took.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Shortest time by the wall clock, which cannot be too short. Clocks of processor time can be:
    /// in virtual machines they miss part of a run now and then.
    pub best_wall: Duration,
    /// Median processor time of the process.
    pub median_cpu: Duration,
    /// Least processor time: what is left when others disturb the caches least.
    pub least_cpu: Duration,
    /// How many runs.
    pub runs: usize,
}

/// Runs `work` once untimed, then at least `least` times and for at least `budget`.
pub fn time(least: usize, budget: Duration, mut work: impl FnMut()) -> Timing {
    work();
    let (mut best_wall, mut cpu) = (Duration::MAX, Vec::new());
    let started = Instant::now();
    while cpu.len() < least.max(1) || started.elapsed() < budget {
        let (from, run) = (cpu_time(), Instant::now());
        work();
        best_wall = best_wall.min(run.elapsed());
        cpu.push(cpu_time().saturating_sub(from));
    }
    cpu.sort_unstable();
    Timing { best_wall, median_cpu: cpu[cpu.len() / 2], least_cpu: cpu[0], runs: cpu.len() }
}

/// Runs `work` once; returns its result, wall time and processor time.
pub fn stopwatch<R>(work: impl FnOnce() -> R) -> (R, (Duration, Duration)) {
    let (from, run) = (cpu_time(), Instant::now());
    let result = work();
    (result, (run.elapsed(), cpu_time().saturating_sub(from)))
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
