//! CPU time, memory and open files of a process as Linux tells them.

use anyhow::{Context, Result};
use nix::{time::clock_getcpuclockid, unistd::Pid};
use std::{fs, time::Duration};

/// Seconds of CPU that all threads of the process have used, ended ones too, user and system together. The process's
/// CPU clock counts nanoseconds; `/proc/<pid>/stat` would count in steps of 10 ms.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.try_into()?)).context("no such process")?;
    Ok(Duration::from(clock.now()?).as_secs_f64())
}

/// Resident memory of the process in bytes.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .with_context(|| path.clone())?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// How many files, sockets included, the process has open.
pub fn open_files(pid: u32) -> Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).with_context(|| path.clone())?.count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn cpu_time_is_finer_than_a_tick() -> Result<()> {
        let own = std::process::id();
        let before = cpu_seconds(own)?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(2) {}
        let used = cpu_seconds(own)? - before;
        assert!(used > 0.0 && used < 1.0, "{used}");
        Ok(())
    }
}
