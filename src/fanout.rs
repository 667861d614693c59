//! Delivery: one worker for each part of the connections writes packets straight to them, in the order handed in.
//!
//! A packet for a room is one queue entry per part, whatever the number of members. What waits at the same moment
//! leaves in one write per connection. The queue holds back client readers when it is long ([`Fanout::poll_ready`]),
//! and tells JavaScript when to wait ([`Fanout::is_congested`]); nothing is dropped.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::{Notify, oneshot};

use crate::{
    hub::{Members, User},
    packet::Packet,
};

/// Queue entries of one part above which readers wait.
const HIGH_WATER: usize = 512;
/// Deliveries after which a worker lets other tasks of its thread run.
const DELIVERIES_PER_TURN: usize = 256;

/// Sockets left out of a delivery, by key.
pub type Except = SmallVec<[u64; 2]>;

#[derive(Debug)]
enum Entry {
    Many {
        members: Arc<Vec<Arc<User>>>,
        except: Except,
        packet: Packet,
    },
    One {
        user: Arc<User>,
        packet: Packet,
        volatile: bool,
    },
    Close {
        user: Arc<User>,
        transport: bool,
    },
    Barrier(oneshot::Sender<()>),
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    readers: Vec<Waker>,
}

#[derive(Debug, Default)]
struct Part {
    queue: Mutex<Queue>,
    wake: Notify,
}

/// The way from the service to its connections.
#[derive(Debug)]
pub struct Fanout {
    parts: Vec<Arc<Part>>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

impl Fanout {
    /// Starts one worker for each of `parts` on the runtime.
    pub fn start(parts: usize, runtime: &tokio::runtime::Handle) -> Self {
        let parts: Vec<_> = (0..parts.max(1)).map(|_| Arc::new(Part::default())).collect();
        let workers = parts
            .iter()
            .map(|part| {
                let part = part.clone();
                runtime.spawn(async move {
                    // A panic must not end the deliveries of every connection of the part.
                    while tokio::spawn(work(part.clone()))
                        .await
                        .is_err_and(|error| error.is_panic())
                    {
                        tracing::error!("a delivery panicked; its batch was lost");
                    }
                })
            })
            .collect();
        Self { parts, workers }
    }

    /// Number of parts.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Sends to all members but some. Returns to how many. Call it under the room's lock, which gives the order.
    pub fn send_many(&self, members: &Members, except: &Except, packet: &Packet) -> usize {
        for (index, users) in members.snapshot() {
            self.push(
                index,
                Entry::Many {
                    members: users.clone(),
                    except: except.clone(),
                    packet: packet.clone(),
                },
            );
        }
        members.len() - except.iter().filter(|key| members.contains(**key)).count()
    }

    /// Sends to one socket; a volatile packet is dropped when others still wait for its client.
    pub fn send_one(&self, user: &Arc<User>, packet: Packet, volatile: bool) {
        let entry = Entry::One {
            user: user.clone(),
            packet,
            volatile,
        };
        self.push(user.shard(self.parts.len()), entry);
    }

    /// Disconnects one socket once everything sent to it before is on its way.
    pub fn close(&self, user: &Arc<User>, transport: bool) {
        let entry = Entry::Close {
            user: user.clone(),
            transport,
        };
        self.push(user.shard(self.parts.len()), entry);
    }

    /// Resolves when everything handed in before has been written or staged by its connection.
    pub async fn flushed(&self) {
        let mut barriers = Vec::with_capacity(self.parts.len());
        for index in 0..self.parts.len() {
            let (done, barrier) = oneshot::channel();
            self.push(index, Entry::Barrier(done));
            barriers.push(barrier);
        }
        for barrier in barriers {
            let _ = barrier.await;
        }
    }

    /// Whether callers should wait before they hand in more.
    pub fn is_congested(&self) -> bool {
        self.parts
            .iter()
            .any(|part| part.queue.lock().entries.len() >= HIGH_WATER)
    }

    /// Ready while the queues are short; otherwise the reader is woken when they are.
    pub fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        for part in &self.parts {
            let mut queue = part.queue.lock();
            if queue.entries.len() >= HIGH_WATER {
                queue.readers.push(context.waker().clone());
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Ends the workers.
    pub fn stop(&self) {
        for worker in &self.workers {
            worker.abort();
        }
    }

    fn push(&self, index: usize, entry: Entry) {
        if let Some(part) = self.parts.get(index) {
            part.queue.lock().entries.push_back(entry);
            part.wake.notify_one();
        }
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn work(part: Arc<Part>) {
    loop {
        let (entries, readers) = {
            let mut queue = part.queue.lock();
            (std::mem::take(&mut queue.entries), std::mem::take(&mut queue.readers))
        };
        readers.into_iter().for_each(Waker::wake);
        if entries.is_empty() {
            part.wake.notified().await;
        } else {
            deliver(entries).await;
            // Packets that arrive meanwhile form the next batch.
            tokio::task::yield_now().await;
        }
    }
}

/// Writes a batch. Connections that several packets are for are written to once, at the end.
async fn deliver(entries: VecDeque<Entry>) {
    let alone = entries.len() == 1;
    let mut staged: Vec<Arc<User>> = Vec::new();
    let mut turn = 0_usize;
    for entry in entries {
        match entry {
            Entry::Many {
                members,
                except,
                packet,
            } => {
                for user in members.iter().filter(|user| !except.contains(&user.key())) {
                    send(user, &packet, alone, &mut staged);
                    turn += 1;
                    if turn.is_multiple_of(DELIVERIES_PER_TURN) {
                        tokio::task::yield_now().await;
                    }
                }
            }
            Entry::One { user, packet, volatile } => {
                if !(volatile && user.link().is_busy()) {
                    send(&user, &packet, alone, &mut staged);
                }
            }
            Entry::Close { user, transport } => {
                user.link().flush();
                user.link().close(transport);
            }
            Entry::Barrier(done) => {
                flush(&mut staged, &mut turn).await;
                let _ = done.send(());
            }
        }
    }
    flush(&mut staged, &mut turn).await;
}

fn send(user: &Arc<User>, packet: &Packet, alone: bool, staged: &mut Vec<Arc<User>>) {
    if user.link().send(packet, alone) {
        staged.push(user.clone());
    }
}

async fn flush(staged: &mut Vec<Arc<User>>, turn: &mut usize) {
    for user in staged.drain(..) {
        user.link().flush();
        *turn += 1;
        if turn.is_multiple_of(DELIVERIES_PER_TURN) {
            tokio::task::yield_now().await;
        }
    }
}
