//! The workloads, one per file, and what their reports have in common.

pub mod blink;
pub mod block;
mod capacity;
pub mod connect;
pub mod idle;
pub mod listen;
pub mod receive;
pub mod rush;
pub mod saturate;
pub mod steady;
pub mod storm;
pub mod survive;

use crate::process::{cpu_seconds, resident_bytes};
use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Load before the measurement, for compilers and caches.
const WARM_UP: Duration = Duration::from_secs(2);

/// Time and CPU of the measured part of a run.
#[derive(Serialize)]
pub struct Usage {
    pub elapsed_s: f64,
    pub server_cpu_s: f64,
    pub server_rss_bytes: u64,
    /// Near `elapsed_s` the generator itself is the bottleneck.
    pub generator_cpu_s: f64,
}

/// The measured part of a run, while it lasts.
struct Window {
    pid: u32,
    begun: Instant,
    server_cpu_s: f64,
    generator_cpu_s: f64,
}

impl Window {
    fn open(pid: u32) -> Result<Self> {
        let (server_cpu_s, generator_cpu_s) = (cpu_seconds(pid)?, cpu_seconds(std::process::id())?);
        Ok(Self {
            pid,
            begun: Instant::now(),
            server_cpu_s,
            generator_cpu_s,
        })
    }

    fn close(&self) -> Result<Usage> {
        Ok(Usage {
            elapsed_s: self.begun.elapsed().as_secs_f64(),
            server_cpu_s: cpu_seconds(self.pid)? - self.server_cpu_s,
            server_rss_bytes: resident_bytes(self.pid)?,
            generator_cpu_s: cpu_seconds(std::process::id())? - self.generator_cpu_s,
        })
    }
}

/// CPU time of each process so far.
fn seconds_of(pids: &[u32]) -> Result<Vec<f64>> {
    pids.iter().copied().map(cpu_seconds).collect()
}

/// Asks whoever started the generator to pass `request` on to the server.
fn ask(request: &Value) {
    println!("{}", json!({ "ask": request }));
}
