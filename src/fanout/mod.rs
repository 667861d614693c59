//! Delivery: one worker for each part of the connections writes packets straight to them, in the order handed in.
//!
//! A packet for a room is one queue entry per part, whatever the number of members. What waits at the same moment
//! leaves in one write per connection. What a client causes is charged to it until it is delivered, which holds its
//! reader back ([`crate::backpressure`]); JavaScript is told when to wait ([`Fanout::is_congested`]). Nothing is dropped.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::{
    backpressure::{self, Charge, Congestion, RECEIVER_COST, Work},
    hub::{Except, Forgotten, Inheritance, Member, Members, Missed, Replay, Socket, Span, Trail},
    lasting,
    link::{Ending, Link},
    wire::{packet::Packet, series::Series},
};

/// Queue entries of one part above which JavaScript waits before it hands in more.
const HIGH_WATER: usize = 512;
/// Receivers up to which a packet does not wait for those of larger rooms.
const FEW: usize = 64;
/// Deliveries after which a worker lets other tasks of its thread run.
const DELIVERIES_PER_TURN: usize = 256;
/// Deliveries after which it does so the first time: what others answer to the last batch comes about now, and leaves in
/// the same writes for nearly all.
const FIRST_TURN: usize = 32;

/// Members for whom packets are put together that all of them get.
const SERIES_MEMBERS: usize = 8;
/// Bytes that are put together.
const SERIES_BYTES: usize = 64 << 10;

/// The members of each part of a room, as they were.
type Snapshot = Vec<(usize, Arc<Vec<Member>>)>;

/// Those whom one packet is for that does not go to the members of one room.
#[derive(Debug, Default)]
pub struct Groups {
    /// Members of rooms, as they are now, and who of them is left out.
    members: Vec<(Snapshot, Except)>,
    sockets: Vec<Arc<Socket>>,
    /// Where it is kept, once each.
    trails: Vec<Arc<Trail>>,
    except: Except,
}

impl Groups {
    /// Nobody. What is kept is not for those who are left out here.
    pub fn but(except: &Except) -> Self {
        Self {
            except: except.clone(),
            ..Self::default()
        }
    }

    /// The members of a room but some; each room once. What is sent to them is kept, if clients may come back for it.
    pub fn add_members(&mut self, members: &Members, except: Except, is_kept: bool) {
        let parts = members.snapshot().map(|(index, part)| (index, part.clone()));
        self.members.push((parts.collect(), except));
        if is_kept {
            self.trails.push(members.begin_trail().clone());
        }
    }

    /// A socket of any instance; each once.
    pub fn add(&mut self, socket: &Arc<Socket>) {
        if let Some(recovery) = socket.recovery() {
            self.trails.push(recovery.trail().clone());
        }
        if !socket.is_remote() {
            self.sockets.push(socket.clone());
        }
    }

    /// How many sockets of this instance were added by themselves.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }
}

#[derive(Debug)]
enum Entry {
    Many {
        members: Arc<Vec<Member>>,
        except: Except,
        packet: Packet,
    },
    One {
        socket: Arc<Socket>,
        packet: Packet,
        volatile: bool,
    },
    /// What a client that has come back on this link missed.
    Missed {
        link: Arc<dyn Link>,
        packets: Vec<Missed>,
    },
    Close {
        link: Arc<dyn Link>,
        ending: Ending,
    },
    Abandon(Arc<dyn Link>),
    Barrier(oneshot::Sender<()>),
}

/// Bytes of packets that a part has not delivered yet, for as long as this lives.
#[derive(Debug)]
struct Weight {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Queued {
    entry: Entry,
    weight: Weight,
    charge: Option<Charge>,
}

#[derive(Debug, Default)]
struct Part {
    entries: Mutex<VecDeque<Queued>>,
    /// Bytes of packets that wait, or are just being delivered.
    bytes: Arc<AtomicUsize>,
    wake: Notify,
}

/// The way from the service to its connections.
#[derive(Debug)]
pub struct Fanout {
    parts: Vec<Arc<Part>>,
    workers: Vec<tokio::task::JoinHandle<()>>,
    congestion: Arc<Congestion>,
    /// What was sent lately, where clients may come back for it.
    replay: Option<Arc<Replay>>,
}

impl Fanout {
    /// Starts one worker for each of `parts` on the runtime. `most`: bytes that may wait for one client.
    pub fn start(parts: usize, most: usize, replay: Option<Arc<Replay>>, runtime: &tokio::runtime::Handle) -> Self {
        let parts: Vec<_> = (0..parts.max(1)).map(|_| Arc::new(Part::default())).collect();
        let workers = parts
            .iter()
            .map(|part| {
                let part = part.clone();
                // A panic loses a batch, and must not end the deliveries of every connection of the part.
                lasting::spawn(runtime, "a delivery", move || work(part.clone()))
            })
            .collect();
        Self {
            parts,
            workers,
            congestion: Arc::new(Congestion::new(most)),
            replay,
        }
    }

    /// The clients that are slow to read.
    pub fn congestion(&self) -> &Arc<Congestion> {
        &self.congestion
    }

    /// Number of parts.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Sends to all members but some, and has it published. Returns to how many. Call it under the room's lock, which gives
    /// the order.
    pub fn send_many(&self, members: &Members, except: &Except, packet: &Packet, publish: impl FnOnce()) -> usize {
        match &self.replay {
            Some(replay) if packet.is_recoverable() => {
                let trails = std::slice::from_ref(members.begin_trail());
                replay.append(trails, except, packet, publish, |packet| {
                    self.push_many(members.snapshot(), except, packet);
                });
            }
            _ => {
                self.push_many(members.snapshot(), except, packet);
                publish();
            }
        }
        members.local_len(except)
    }

    fn push_many<'a>(
        &self,
        parts: impl Iterator<Item = (usize, &'a Arc<Vec<Member>>)>,
        except: &Except,
        packet: &Packet,
    ) {
        for (index, sockets) in parts {
            let cost = packet.len() + sockets.len() * RECEIVER_COST;
            let entry = Entry::Many {
                members: sockets.clone(),
                except: except.clone(),
                packet: packet.clone(),
            };
            self.push(index, entry, packet.len(), cost);
        }
    }

    /// Sends to all of several groups, and has it published: as one packet, which nothing comes between.
    pub fn send_groups(&self, groups: &Groups, packet: &Packet, volatile: bool, publish: impl FnOnce()) {
        let hand_on = |packet: &Packet| {
            for (parts, except) in &groups.members {
                self.push_many(parts.iter().map(|(index, part)| (*index, part)), except, packet);
            }
            for socket in &groups.sockets {
                self.push_one(socket, packet.clone(), volatile);
            }
        };
        match &self.replay {
            Some(replay) if packet.is_recoverable() && !volatile => {
                replay.append(&groups.trails, &groups.except, packet, publish, hand_on);
            }
            Some(replay) if packet.is_recoverable() => {
                replay.pass(packet, hand_on);
                publish();
            }
            _ => {
                hand_on(packet);
                publish();
            }
        }
    }

    /// Sends to one socket; a volatile packet is dropped when others still wait for its client.
    pub fn send_one(&self, socket: &Arc<Socket>, packet: Packet, volatile: bool) {
        match (&self.replay, socket.recovery()) {
            (Some(replay), Some(_)) if volatile && packet.is_recoverable() => {
                replay.pass(&packet, |packet| self.push_one(socket, packet.clone(), volatile));
            }
            (Some(replay), Some(recovery)) if packet.is_recoverable() => {
                let trails = std::slice::from_ref(recovery.trail());
                replay.append(
                    trails,
                    &Except::new(),
                    &packet,
                    || {},
                    |packet| {
                        self.push_one(socket, packet.clone(), volatile);
                    },
                );
            }
            _ => self.push_one(socket, packet, volatile),
        }
    }

    fn push_one(&self, socket: &Arc<Socket>, packet: Packet, volatile: bool) {
        let bytes = packet.len();
        let entry = Entry::One {
            socket: socket.clone(),
            packet,
            volatile,
        };
        self.push(socket.shard(self.parts.len()), entry, bytes, bytes);
    }

    /// Sends a socket that is on another connection now what it missed, before everything that is sent to it from now on.
    pub fn resend(&self, socket: &Arc<Socket>, missed: &[Span]) -> Result<(), Forgotten> {
        let Some(replay) = &self.replay else {
            return Err(Forgotten);
        };
        replay.collect(missed, socket.key(), |packets| self.push_missed(socket, packets))
    }

    /// As [`Fanout::resend`] for a socket that another instance had before: first what its client missed there, then what
    /// came here since. Returns the newest number before all of that.
    pub fn inherit(&self, socket: &Arc<Socket>, missed: Inheritance, since: &[Span]) -> Result<u64, Forgotten> {
        let (Some(replay), Some(recovery)) = (&self.replay, socket.recovery()) else {
            return Err(Forgotten);
        };
        replay.inherit(missed, since, (socket.key(), recovery.trail()), |packets, before| {
            self.push_missed(socket, packets);
            before
        })
    }

    fn push_missed(&self, socket: &Arc<Socket>, packets: Vec<Missed>) {
        let bytes = packets.iter().map(|(_, packet)| packet.len()).sum();
        let entry = Entry::Missed {
            link: socket.link(),
            packets,
        };
        self.push(socket.shard(self.parts.len()), entry, bytes, bytes);
    }

    /// Ends the connection of one socket once everything sent to it before is on its way.
    pub fn close(&self, socket: &Arc<Socket>, ending: Ending) {
        let link = socket.link();
        self.push(socket.shard(self.parts.len()), Entry::Close { link, ending }, 0, 0);
    }

    /// Ends at once the connection that a socket was on before.
    pub fn abandon(&self, socket: &Socket, link: Arc<dyn Link>) {
        self.push(socket.shard(self.parts.len()), Entry::Abandon(link), 0, 0);
    }

    /// Resolves when everything handed in before has been written or staged by its connection.
    pub async fn flushed(&self) {
        let mut barriers = Vec::with_capacity(self.parts.len());
        for index in 0..self.parts.len() {
            let (done, barrier) = oneshot::channel();
            self.push(index, Entry::Barrier(done), 0, 0);
            barriers.push(barrier);
        }
        for barrier in barriers {
            let _ = barrier.await;
        }
    }

    /// Whether callers should see who is slow to read, and wait for what was handed in, before they hand in more.
    pub fn is_congested(&self) -> bool {
        let quarter = self.congestion.quarter();
        self.congestion.is_any_slow()
            || self
                .parts
                .iter()
                .any(|part| part.bytes.load(Ordering::Relaxed) >= quarter || part.entries.lock().len() >= HIGH_WATER)
    }

    /// Ends the workers.
    pub fn stop(&self) {
        for worker in &self.workers {
            worker.abort();
        }
    }

    fn push(&self, index: usize, entry: Entry, bytes: usize, cost: usize) {
        if let Some(part) = self.parts.get(index) {
            part.bytes.fetch_add(bytes, Ordering::Relaxed);
            let queued = Queued {
                entry,
                weight: Weight {
                    of: part.bytes.clone(),
                    bytes,
                },
                charge: backpressure::charge(Work::Delivery, cost),
            };
            part.entries.lock().push_back(queued);
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
        let entries = std::mem::take(&mut *part.entries.lock());
        if entries.is_empty() {
            part.wake.notified().await;
            // What other clients have sent by now is read first, so that it leaves in the same writes: the first turn
            // asks the kernel, the second lets the readers run, which would otherwise come after this task.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        } else {
            deliver(&part, entries).await;
            // Packets that arrive meanwhile form the next batch.
            tokio::task::yield_now().await;
        }
    }
}

/// Connections that have something staged. Those that a packet for few reaches are written to first, so that it waits
/// for no large room; what else is staged for them leaves with it, in order.
#[derive(Debug, Default)]
struct Staged {
    first: Vec<Arc<dyn Link>>,
    later: Vec<Arc<dyn Link>>,
    turn: usize,
}

impl Staged {
    fn send(&mut self, link: &Arc<dyn Link>, packet: &Packet, delivery: Delivery) {
        let is_new = link.send(packet, delivery == Delivery::Now);
        self.note(link, is_new, delivery);
    }

    fn note(&mut self, link: &Arc<dyn Link>, is_new: bool, delivery: Delivery) {
        match delivery {
            Delivery::Now => {}
            // Also when a packet for many has staged it before.
            Delivery::First => self.first.push(link.clone()),
            Delivery::Later if is_new => self.later.push(link.clone()),
            Delivery::Later => {}
        }
    }

    /// Stages packets that all of the members get.
    async fn send_series(&mut self, members: &[Member], series: &Series) {
        let delivery = Delivery::of(members.len(), false);
        for member in members {
            let is_new = member.link().send_series(series);
            self.note(member.link(), is_new, delivery);
            self.count().await;
        }
    }

    /// Counts a delivery and lets other tasks run from time to time: whether it has.
    async fn count(&mut self) -> bool {
        self.turn += 1;
        let is_turn = self.turn == FIRST_TURN || self.turn.is_multiple_of(DELIVERIES_PER_TURN);
        if is_turn {
            tokio::task::yield_now().await;
        }
        is_turn
    }

    async fn flush(&mut self) {
        for links in [std::mem::take(&mut self.first), std::mem::take(&mut self.later)] {
            for link in links {
                link.flush();
                self.count().await;
            }
        }
    }
}

/// When a packet leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// At once: nothing else waits.
    Now,
    First,
    Later,
}

impl Delivery {
    fn of(receivers: usize, alone: bool) -> Self {
        match receivers {
            _ if alone => Self::Now,
            0..=FEW => Self::First,
            _ => Self::Later,
        }
    }
}

/// Takes those packets off the entries that follow one and go to the same members, as far as it is worth it to put them
/// together.
fn following(
    members: &Arc<Vec<Member>>,
    except: &Except,
    packet: &Packet,
    entries: &mut VecDeque<Queued>,
) -> Vec<(Packet, Weight, Option<Charge>)> {
    let mut bytes = packet.len();
    let mut joins = |entry: &Entry| match entry {
        Entry::Many {
            members: others,
            except,
            packet,
        } => {
            bytes += packet.len();
            Arc::ptr_eq(members, others) && except.is_empty() && bytes <= SERIES_BYTES
        }
        _ => false,
    };
    let mut following = Vec::new();
    if !except.is_empty() || members.len() < SERIES_MEMBERS {
        return following;
    }
    while entries.front().is_some_and(|queued| joins(&queued.entry))
        && let Some(Queued { entry, weight, charge }) = entries.pop_front()
    {
        if let Entry::Many { packet, .. } = entry {
            following.push((packet, weight, charge));
        }
    }
    following
}

/// Writes a batch. Connections that several packets are for are written to once, at the end. What comes while a single
/// packet is written to many joins it: those who have not had the one yet get both in one write.
async fn deliver(part: &Part, mut entries: VecDeque<Queued>) {
    let mut alone = entries.len() == 1;
    let mut staged = Staged::default();
    // What is staged counts until its connection has seen how much that is.
    let mut held = Vec::with_capacity(entries.len());
    while let Some(Queued { entry, weight, charge }) = entries.pop_front() {
        held.push((weight, charge));
        match entry {
            Entry::Many {
                members,
                except,
                packet,
            } => {
                let following = following(&members, &except, &packet, &mut entries);
                if !following.is_empty() {
                    let mut packets = vec![packet];
                    for (packet, weight, charge) in following {
                        packets.push(packet);
                        held.push((weight, charge));
                    }
                    staged.send_series(&members, &Series::new(packets)).await;
                    continue;
                }
                for member in members.iter() {
                    if !except.is_empty() && except.contains(member.socket().key()) {
                        continue;
                    }
                    staged.send(member.link(), &packet, Delivery::of(members.len(), alone));
                    if staged.count().await && alone {
                        entries = std::mem::take(&mut *part.entries.lock());
                        alone = entries.is_empty();
                    }
                }
            }
            Entry::One {
                socket,
                packet,
                volatile,
            } => {
                let link = socket.link();
                if !(volatile && link.waiting() > 0) {
                    staged.send(&link, &packet, Delivery::of(1, alone));
                }
            }
            Entry::Missed { link, packets } => {
                let with_offset = |(offset, packet): &Missed| packet.with_offset(offset);
                link.replay(packets.iter().map(with_offset).collect());
            }
            Entry::Abandon(link) => link.abandon(),
            Entry::Close { link, ending } => {
                link.flush();
                link.close(ending);
            }
            Entry::Barrier(done) => {
                staged.flush().await;
                held.clear();
                let _ = done.send(());
            }
        }
    }
    staged.flush().await;
    drop(held);
}

#[cfg(test)]
mod tests;
