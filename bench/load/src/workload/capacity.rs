//! How many deliveries the generator takes: a chat with the floor server, which then delivers many messages with each
//! write, so that neither the server nor the number of writes is the limit.

use super::{WARM_UP, ask};
use crate::{
    fleet::Fleet,
    tally::{Phase, Tally},
};
use anyhow::Result;
use serde_json::json;
use std::time::{Duration, Instant};

const DURATION: Duration = Duration::from_secs(3);

/// Batches of each room that are on their way at the same time.
const BATCHES_IN_FLIGHT: u32 = 4;

/// Deliveries per second with `batch` messages in each write.
pub async fn measure(fleet: &Fleet, rooms: usize, batch: u32) -> Result<f64> {
    ask(&json!({ "batch": batch }));
    let in_flight = BATCHES_IN_FLIGHT * batch * u32::try_from(rooms)?;
    fleet.fill(Phase::Margin, in_flight, WARM_UP).await?;
    let (begun, before) = (Instant::now(), fleet.tally(Tally::arrived));
    fleet.fill(Phase::Margin, in_flight, DURATION).await?;
    let arrived = fleet.tally(Tally::arrived) - before;
    let elapsed = begun.elapsed();
    // Lets go of batches that are not full.
    ask(&json!({ "batch": 1 }));
    fleet.drain().await;
    Ok(arrived as f64 / elapsed.as_secs_f64())
}
