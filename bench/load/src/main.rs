//! Command line of the benchmark's native programs: the load generator, one subcommand per workload, and the floor
//! server. Each workload prints one JSON object on standard output; `{"ask":…}` lines before it are requests to
//! whoever started the generator to pass the value on to the server under test.

mod chat;
mod client;
mod fleet;
mod floor;
mod process;
mod tally;
mod wire;
mod workload;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Socket.IO load over raw WebSocket frames, and the floor server")]
struct Command {
    #[command(subcommand)]
    kind: Kind,
}

/// The server under test and the clients to open to it.
#[derive(Args)]
pub struct Target {
    /// Port of the server on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// Process of the server: its CPU time and memory are read from /proc.
    #[arg(long)]
    pid: u32,
    /// Connections to open.
    #[arg(long)]
    clients: usize,
    /// Connections being set up at the same time.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Ids of the rooms; client `i` joins room `i mod rooms`. Without rooms nothing is joined.
    #[arg(long, value_delimiter = ',')]
    rooms: Vec<String>,
}

#[derive(Subcommand)]
enum Kind {
    /// Messages at a fixed rate from changing clients.
    Steady {
        #[command(flatten)]
        target: Target,
        /// Messages per second, all clients together.
        #[arg(long)]
        rate: u32,
        #[arg(long)]
        seconds: u64,
    },
    /// A fixed number of messages always on their way: the next is sent when every member has received one of them.
    Saturate {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        in_flight: u32,
        #[arg(long)]
        seconds: u64,
    },
    /// As steady; after `seconds` the server is asked to block its JavaScript for `block_ms`.
    Block {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        rate: u32,
        #[arg(long)]
        seconds: u64,
        #[arg(long)]
        block_ms: u64,
    },
    /// Connections in rooms that do nothing; memory per connection.
    Idle {
        #[command(flatten)]
        target: Target,
        /// Quiet time between the last join and the measurement.
        #[arg(long)]
        settle_seconds: u64,
    },
    /// Connections as fast as the server takes them; rate and CPU per connection.
    Connect {
        #[command(flatten)]
        target: Target,
    },
    /// Counts one event while a script in the server broadcasts it.
    Receive {
        #[command(flatten)]
        target: Target,
        /// Name of the event to count.
        #[arg(long)]
        event: String,
        /// JSON value that starts the broadcasts, passed on to the server when every client is ready.
        #[arg(long)]
        ask: String,
        #[arg(long)]
        seconds: u64,
    },
    /// The floor server.
    Floor {
        /// Room ids to announce.
        #[arg(long, default_value_t = 1)]
        rooms: usize,
    },
}

fn main() -> Result<()> {
    let kind = Command::parse().kind;
    if let Kind::Floor { rooms } = kind {
        return floor::serve(rooms);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(kind))
}

async fn run(kind: Kind) -> Result<()> {
    match kind {
        Kind::Steady { target, rate, seconds } => {
            print(&workload::steady::run(&target, rate, Duration::from_secs(seconds)).await?)
        }
        Kind::Saturate {
            target,
            in_flight,
            seconds,
        } => print(&workload::saturate::run(&target, in_flight, Duration::from_secs(seconds)).await?),
        Kind::Block {
            target,
            rate,
            seconds,
            block_ms,
        } => {
            let (before, block) = (Duration::from_secs(seconds), Duration::from_millis(block_ms));
            print(&workload::block::run(&target, rate, before, block).await?)
        }
        Kind::Idle { target, settle_seconds } => {
            print(&workload::idle::run(&target, Duration::from_secs(settle_seconds)).await?)
        }
        Kind::Connect { target } => print(&workload::connect::run(&target).await?),
        Kind::Receive {
            target,
            event,
            ask,
            seconds,
        } => {
            let ask = serde_json::from_str(&ask)?;
            print(&workload::receive::run(&target, &event, &ask, Duration::from_secs(seconds)).await?)
        }
        Kind::Floor { rooms } => floor::serve(rooms),
    }
}

fn print(report: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}
