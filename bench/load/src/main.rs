//! Command line of the benchmark's native programs: the load generator, one subcommand per workload, and the floor
//! server. Each workload prints one JSON object on standard output; `{"ask":…}` lines before it are requests to
//! whoever started the generator to pass the value on to the server under test.

mod chat;
mod client;
mod fleet;
mod floor;
mod heartbeat;
mod ledger;
mod line;
mod order;
mod polling;
mod process;
mod tally;
mod wire;
mod workload;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Socket.IO load over raw WebSocket frames, and the floor server")]
struct Command {
    #[command(subcommand)]
    kind: Kind,
}

/// The server under test and the clients to open to it.
#[derive(Args, Clone)]
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
    #[arg(long, value_enum, default_value_t = Transport::Websocket)]
    transport: Transport,
    /// WebSockets over TLS; any certificate will do.
    #[arg(long)]
    tls: bool,
    /// Port of another instance on 127.0.0.1, whose clients only receive.
    #[arg(long, requires = "far_clients")]
    far_port: Option<u16>,
    /// Connections to open to it. With them, delays are theirs alone.
    #[arg(long, default_value_t = 0, requires = "far_port")]
    far_clients: usize,
    /// Further processes whose CPU time is read: the other instance, Redis.
    #[arg(long, value_delimiter = ',')]
    more_pids: Vec<u32>,
}

impl Target {
    /// All clients of a run, near and far.
    fn all_clients(&self) -> usize {
        self.clients + self.far_clients
    }

    /// Port of the instance that a client belongs to; the near ones come first.
    fn port_of(&self, index: usize) -> u16 {
        let far = if index < self.clients { None } else { self.far_port };
        far.unwrap_or(self.port)
    }
}

/// What the clients speak, from the handshake to the end.
#[derive(Clone, Copy, ValueEnum)]
enum Transport {
    Websocket,
    Polling,
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
        /// For the floor: afterwards, how many deliveries the generator takes when they come in writes of so many.
        #[arg(long)]
        capacity_batch: Option<u32>,
    },
    /// As saturate, then as steady, while the server's JavaScript listens to every message.
    Listen {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        in_flight: u32,
        /// Messages per second of the steady part.
        #[arg(long)]
        rate: u32,
        /// Length of each part.
        #[arg(long)]
        seconds: u64,
        /// As for saturate.
        #[arg(long)]
        capacity_batch: Option<u32>,
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
    /// Clients whose connections end again and again, each at a random time in every period, and who come back as a
    /// Socket.IO client does; one further client sends messages to all rooms in turn.
    Blink {
        #[command(flatten)]
        target: Target,
        /// Ports of further instances: clients come to another one each time, and instances but the first are killed in turn,
        /// one in every period.
        #[arg(long, value_delimiter = ',')]
        others: Vec<u16>,
        /// Messages per second, all rooms together.
        #[arg(long)]
        rate: u32,
        #[arg(long)]
        periods: u32,
        #[arg(long)]
        period_ms: u64,
        /// How long a client is away.
        #[arg(long)]
        away_ms: u64,
    },
    /// Idle clients while the server's JavaScript is blocked for longer than its heartbeat allows, and new ones that
    /// come in the middle of that.
    Survive {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        newcomers: usize,
        #[arg(long)]
        block_ms: u64,
    },
    /// All connections come and go again and again; memory after each round.
    Storm {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        rounds: usize,
        /// Quiet time between the last end of a connection and the measurement.
        #[arg(long)]
        settle_seconds: u64,
    },
    /// Clients that come at once while a few others chat, and go again.
    Rush {
        #[command(flatten)]
        target: Target,
        /// Messages per second of the chat.
        #[arg(long)]
        rate: u32,
        /// Quiet time between the last end of a connection and the measurement of memory.
        #[arg(long)]
        settle_seconds: u64,
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
        /// Port of a Redis on 127.0.0.1, through which it shares messages with other floors.
        #[arg(long)]
        redis_port: Option<u16>,
    },
}

fn main() -> Result<()> {
    let kind = Command::parse().kind;
    if let Kind::Floor { rooms, redis_port } = kind {
        return floor::serve(rooms, redis_port);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(kind))
}

async fn run(kind: Kind) -> Result<()> {
    let (seconds, ms) = (Duration::from_secs, Duration::from_millis);
    match kind {
        Kind::Steady {
            target,
            rate,
            seconds: length,
        } => print(&workload::steady::run(&target, rate, seconds(length)).await?),
        Kind::Saturate {
            target,
            in_flight,
            seconds: length,
            capacity_batch,
        } => print(&workload::saturate::run(&target, in_flight, seconds(length), capacity_batch).await?),
        Kind::Listen {
            target,
            in_flight,
            rate,
            seconds: length,
            capacity_batch,
        } => print(&workload::listen::run(&target, in_flight, rate, seconds(length), capacity_batch).await?),
        Kind::Block {
            target,
            rate,
            seconds: before,
            block_ms,
        } => print(&workload::block::run(&target, rate, seconds(before), ms(block_ms)).await?),
        Kind::Blink {
            target,
            others,
            rate,
            periods,
            period_ms,
            away_ms,
        } => {
            let cuts = workload::blink::Cuts {
                periods,
                period: ms(period_ms),
                away: ms(away_ms),
            };
            print(&workload::blink::run(&target, &others, rate, cuts).await?)
        }
        Kind::Survive {
            target,
            newcomers,
            block_ms,
        } => print(&workload::survive::run(&target, newcomers, ms(block_ms)).await?),
        Kind::Storm {
            target,
            rounds,
            settle_seconds,
        } => print(&workload::storm::run(&target, rounds, seconds(settle_seconds)).await?),
        Kind::Rush {
            target,
            rate,
            settle_seconds,
        } => print(&workload::rush::run(&target, rate, seconds(settle_seconds)).await?),
        Kind::Idle { target, settle_seconds } => print(&workload::idle::run(&target, seconds(settle_seconds)).await?),
        Kind::Connect { target } => print(&workload::connect::run(&target).await?),
        Kind::Receive {
            target,
            event,
            ask,
            seconds: length,
        } => print(&workload::receive::run(&target, &event, &serde_json::from_str(&ask)?, seconds(length)).await?),
        Kind::Floor { rooms, redis_port } => floor::serve(rooms, redis_port),
    }
}

fn print(report: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}
