//! Idle clients while the server's JavaScript is blocked for longer than its heartbeat allows: how many connections are
//! lost, and when clients that come during the block are served.

use super::{Usage, Window, ask};
use crate::{Target, client, fleet::Fleet, line::Scratch, tally::Tally};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;
use std::{
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long a newcomer waits, from the beginning of its connection: `timeout` of `socket.io-client`.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Time for losses that are noticed late.
const AFTER: Duration = Duration::from_secs(1);

#[derive(Serialize)]
pub struct Report {
    connected: usize,
    /// Connections lost: ended by the server, or given up because no ping came.
    closed: u64,
    newcomers: usize,
    /// When each newcomer that was served had the answer to its CONNECT, in order, in milliseconds since 1970: the
    /// server's clock, so that the end of the block can be taken from it.
    served_unix_ms: Vec<f64>,
    #[serde(flatten)]
    usage: Usage,
}

pub async fn run(target: &Target, newcomers: usize, block: Duration) -> Result<Report> {
    let fleet = Fleet::open(target, Tally::new(None)?).await?;
    let patience = fleet.patience().context("no clients")?;
    ensure!(
        block > patience,
        "the heartbeat allows {patience:?}, more than the block"
    );
    // Everybody has been pinged once.
    sleep(patience).await;
    let window = Window::open(target.pid)?;
    let begun = Instant::now();
    ask(&json!({ "block": u64::try_from(block.as_millis())? }));
    sleep(block / 2).await;
    let mut served_unix_ms = open_newcomers(target, newcomers).await?;
    served_unix_ms.sort_unstable_by(f64::total_cmp);
    sleep((block + patience + AFTER).saturating_sub(begun.elapsed())).await;
    Ok(Report {
        connected: fleet.len(),
        closed: fleet.tally(Tally::closed),
        newcomers,
        served_unix_ms,
        usage: window.close()?,
    })
}

/// Opens all newcomers at once; resolves when each has been served or has given up.
async fn open_newcomers(target: &Target, count: usize) -> Result<Vec<f64>> {
    let scratch = Rc::new(Scratch::default());
    let mut openers = JoinSet::new();
    for index in 0..count {
        let (port, tls, scratch) = (target.port, target.tls, Rc::clone(&scratch));
        openers.spawn_local(async move {
            let username = format!("newcomer{index}");
            let opened = client::open(port, tls, &username, None, scratch);
            timeout(CONNECT_LIMIT, opened).await??;
            anyhow::Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() * 1_000.0)
        });
    }
    let mut served = Vec::with_capacity(count);
    while let Some(opened) = openers.join_next().await {
        match opened? {
            Ok(at) => served.push(at),
            Err(error) => eprintln!("newcomer not served: {error:#}"),
        }
    }
    Ok(served)
}
