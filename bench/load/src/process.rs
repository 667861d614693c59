//! CPU time and memory of a process as Linux tells them in `/proc`.

use anyhow::{Context, Result};
use std::fs;

/// Unit of the times in `/proc/<pid>/stat`: `USER_HZ`, 100 on every Linux that Node.js supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of CPU that all threads of the process have used, user and system together, to 10 ms.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The command name, field 2, is in parentheses and may hold spaces; utime and stime are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').with_context(|| path.clone())?;
    let mut ticks = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let mut next = || ticks.next().with_context(|| path.clone());
    let total = next()?? + next()??;
    Ok(total as f64 / TICKS_PER_SECOND)
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
