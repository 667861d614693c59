//! The class that `lib/` drives. Each method converts, calls the service and converts back.

use std::sync::{Arc, atomic::AtomicU64};

use bytes::Bytes;
use dashmap::DashMap;
use napi::{
    Env,
    bindgen_prelude::{Buffer, Error, Function, Result, Status},
};
use napi_derive::napi;
use tokio::task::AbortHandle;

use super::{
    bridge::Bridge,
    field::Field,
    log,
    queue::{Item, Queue},
};
use crate::{config::Config, ports::EventKind, server::Server};

/// The native side of one `WebSocketService`.
#[napi]
pub struct NativeService {
    pub(super) server: Arc<Server>,
    pub(super) queue: Arc<Queue>,
    /// Requests that are being answered; of a poll that was just handed in, there is no task yet.
    pub(super) requests: Arc<DashMap<u64, Option<AbortHandle>>>,
    pub(super) bridges: DashMap<u64, Bridge>,
    pub(super) next_bridge: AtomicU64,
}

pub(super) fn invalid(error: impl std::fmt::Display) -> Error {
    Error::new(Status::InvalidArg, error.to_string())
}

pub(super) fn bytes_of(buffers: Vec<Buffer>) -> Vec<Bytes> {
    buffers
        .into_iter()
        .map(|buffer| Bytes::copy_from_slice(&buffer))
        .collect()
}

/// More than V8 lets others keep for its objects before it looks for garbage.
const PRESSURE: i64 = 128 << 20;

/// Has V8 look for garbage, in steps between what JavaScript does. It would not before JavaScript has made as much again.
fn collect_garbage(env: Env) {
    // Nothing depends on it.
    let _ = env.adjust_external_memory(PRESSURE);
    let _ = env.adjust_external_memory(-PRESSURE);
}

/// A count or number of JavaScript's.
pub(super) fn index(number: f64) -> u64 {
    number as u64
}

#[napi]
impl NativeService {
    /// `config`: the checked options as JSON; `wake` is called when there is something to take; `signs` is the memory
    /// that shows whether there is, see `lib/native/signs.ts`.
    #[napi(constructor)]
    pub fn new(env: Env, config: String, wake: Function<'_, (), ()>, signs: Buffer) -> Result<Self> {
        let config: Config = serde_json::from_str(&config).map_err(invalid)?;
        let wake = wake
            .build_threadsafe_function()
            .weak::<true>()
            .max_queue_size::<1>()
            .build()?;
        let queue = Arc::new(Queue::new(wake, signs));
        log::tell(&queue);
        let server = Arc::new(Server::new(config, queue.clone()).map_err(invalid)?);
        // A worker thread that is terminated, or a process that exits, takes its connections with it.
        env.add_env_cleanup_hook((Arc::downgrade(&server), queue.clone()), |(server, queue)| {
            queue.close();
            if let Some(server) = server.upgrade() {
                server.abandon();
            }
        })?;
        Ok(Self {
            server,
            queue,
            requests: Arc::default(),
            bridges: DashMap::new(),
            next_bridge: AtomicU64::new(0),
        })
    }

    /// Says which events have listeners.
    #[napi(catch_unwind)]
    pub fn listen(&self, names: Vec<String>) {
        self.queue
            .listen(names.iter().filter_map(|name| EventKind::named(name)));
    }

    /// Says whether connections are asked about.
    #[napi(catch_unwind)]
    pub fn set_admits(&self, admits: bool) {
        self.server.service().set_admits(admits);
    }

    /// Takes up to `most` of what waits for JavaScript, behind how many they are.
    #[napi(catch_unwind)]
    pub fn take(&self, env: Env, most: f64) -> Vec<Field> {
        if self.queue.take_garbage() {
            collect_garbage(env);
        }
        self.queue.take(usize::try_from(index(most)).unwrap_or(0)).into_vec()
    }

    /// Says what JavaScript's clock shows, in milliseconds since the epoch: before whatever depends on it.
    #[napi(catch_unwind)]
    pub fn set_time(&self, now: f64) {
        self.server.service().clock.set(index(now));
    }

    /// Lets go of JavaScript: nothing is reported nor waits to be taken any more.
    #[napi(catch_unwind)]
    pub fn release(&self) {
        self.queue.close();
    }

    /// Reports under this number when everything that waits now has been taken.
    #[napi(catch_unwind)]
    pub fn mark(&self, id: f64) {
        self.queue.push(Item::Done(id));
    }
}
