//! What the service told, in order.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use native_websocket_service::{
    backpressure::{Charge, Work, charge},
    hub::Socket,
    ports::{EventKind, EventSink, ServiceEvent},
    service::{Admitted, Refusal, Service},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::within;

/// What happens to clients that ask to be let in, once the service admits by its sink.
#[derive(Debug, Default)]
pub enum Admissions {
    #[default]
    Accept,
    Refuse(Refusal),
    /// Nobody answers.
    Ignore,
}

/// What a listener of `connection` does.
type Listener = Arc<dyn Fn(&Service, &Arc<Socket>) + Send + Sync>;

/// Plays JavaScript's part: listens to every event, and says when `connection` was heard.
pub struct Recorder {
    events: Mutex<Vec<ServiceEvent>>,
    changed: Notify,
    wanted: AtomicU32,
    /// It takes nothing for now.
    busy: AtomicBool,
    /// What was charged to clients for what it has not taken.
    charges: Mutex<Vec<Charge>>,
    service: OnceLock<Weak<Service>>,
    pub admissions: Mutex<Admissions>,
    pub listener: Mutex<Option<Listener>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            events: Mutex::default(),
            changed: Notify::new(),
            wanted: AtomicU32::new(u32::MAX),
            busy: AtomicBool::new(false),
            charges: Mutex::default(),
            service: OnceLock::new(),
            admissions: Mutex::default(),
            listener: Mutex::default(),
        }
    }
}

/// What a client sends to have its handler panic.
const PANIC: &[u8] = b"[\"panic\"";

impl EventSink for Recorder {
    fn wants(&self, kind: EventKind) -> bool {
        self.wanted.load(Ordering::Relaxed) & kind as u32 != 0
    }

    fn is_responsive(&self) -> bool {
        !self.busy.load(Ordering::Acquire)
    }

    fn emit(&self, event: ServiceEvent) {
        if let ServiceEvent::Client { args, .. } = &event {
            assert!(!args.starts_with(PANIC), "on purpose");
        }
        if self.busy.load(Ordering::Acquire) {
            self.charges.lock().extend(charge(Work::JavaScript, 0));
        }
        let heard = match &event {
            ServiceEvent::Connection(socket) | ServiceEvent::Admission(socket) => Some(socket.clone()),
            _ => None,
        };
        let admission = matches!(event, ServiceEvent::Admission(_));
        self.events.lock().push(event);
        self.changed.notify_waiters();
        let service = self.service.get().and_then(Weak::upgrade);
        if let (Some(socket), Some(service)) = (heard, service) {
            if admission {
                self.decide(&service, &socket);
            } else {
                let listener = self.listener.lock().clone();
                // On a thread of its own, as JavaScript is: a sink never calls back into the service.
                std::thread::spawn(move || {
                    if let Some(listener) = listener {
                        listener(&service, &socket);
                    }
                    service.introduced(&socket);
                });
            }
        }
    }
}

impl Recorder {
    pub fn serve(&self, service: &Arc<Service>) {
        let _ = self.service.set(Arc::downgrade(service));
    }

    /// As JavaScript that is busy: takes nothing from now on.
    pub fn stall(&self) {
        self.busy.store(true, Ordering::Release);
    }

    /// Takes everything again.
    pub fn resume(&self) {
        self.busy.store(false, Ordering::Release);
        // Whoever is woken may cause more at once.
        drop(std::mem::take(&mut *self.charges.lock()));
    }

    /// Stops listening to events of a kind.
    pub fn ignore(&self, kind: EventKind) {
        self.wanted.fetch_and(!(kind as u32), Ordering::Relaxed);
    }

    fn decide(&self, service: &Service, socket: &Socket) {
        let decision = match &*self.admissions.lock() {
            Admissions::Accept => Ok(Admitted::default()),
            Admissions::Refuse(refusal) => Err(refusal.clone()),
            Admissions::Ignore => return,
        };
        service.decide(socket, decision);
    }

    /// Lets go of everything that was told.
    pub fn forget(&self) {
        self.events.lock().clear();
    }

    pub fn events(&self) -> Vec<ServiceEvent> {
        self.events.lock().clone()
    }

    /// Waits for an event, also one that came already.
    pub async fn wait<R>(&self, what: &str, find: impl Fn(&ServiceEvent) -> Option<R>) -> R {
        within(what, async {
            loop {
                let changed = self.changed.notified();
                if let Some(found) = self.events.lock().iter().find_map(&find) {
                    return found;
                }
                changed.await;
            }
        })
        .await
    }

    /// The reason of a socket's `disconnect`.
    pub async fn disconnected(&self, socket_id: &str) -> String {
        self.wait("disconnect", |event| match event {
            ServiceEvent::Disconnect(socket, reason, _) if socket.id() == socket_id => Some(reason.to_string()),
            _ => None,
        })
        .await
    }

    /// The numbers of a client's `["own", n]` events.
    pub fn own_events(&self, socket_id: &str) -> Vec<u64> {
        let events = self.events.lock();
        let numbers = events.iter().filter_map(|event| match event {
            ServiceEvent::Client { socket, args, .. } if socket.id() == socket_id => std::str::from_utf8(args)
                .ok()?
                .strip_prefix("[\"own\",")?
                .strip_suffix(']')?
                .parse()
                .ok(),
            _ => None,
        });
        numbers.collect()
    }

    fn take_admission(&self) -> Option<Arc<Socket>> {
        let mut events = self.events.lock();
        let at = events
            .iter()
            .position(|event| matches!(event, ServiceEvent::Admission(_)))?;
        match events.remove(at) {
            ServiceEvent::Admission(socket) => Some(socket),
            _ => None,
        }
    }

    /// As [`Recorder::admission`], each one once.
    pub async fn next_admission(&self) -> Arc<Socket> {
        within("admission", async {
            loop {
                let changed = self.changed.notified();
                if let Some(socket) = self.take_admission() {
                    return socket;
                }
                changed.await;
            }
        })
        .await
    }

    /// The socket of a client that asks to be let in.
    pub async fn admission(&self) -> Arc<Socket> {
        self.wait("admission", |event| match event {
            ServiceEvent::Admission(socket) => Some(socket.clone()),
            _ => None,
        })
        .await
    }

    /// Connections that were told of, less those that were told to have gone.
    pub fn open_connections(&self) -> isize {
        self.events
            .lock()
            .iter()
            .map(|event| match event {
                ServiceEvent::Connection(_) => 1,
                ServiceEvent::Disconnect(..) => -1,
                _ => 0,
            })
            .sum()
    }

    /// Each socket: one `connection`, then its events, then one `disconnect`. Nothing before or after.
    pub fn assert_balanced(&self) {
        let mut open: HashMap<u64, bool> = HashMap::new();
        for event in self.events.lock().iter() {
            match event {
                ServiceEvent::Connection(socket) => {
                    assert_eq!(
                        open.insert(socket.key(), true),
                        None,
                        "connected twice: {}",
                        socket.id()
                    );
                }
                ServiceEvent::Disconnect(socket, ..) => {
                    let was = open.insert(socket.key(), false);
                    assert_eq!(was, Some(true), "disconnect out of order: {}", socket.id());
                }
                ServiceEvent::RoomJoin(socket, _)
                | ServiceEvent::RoomLeave(socket, _)
                | ServiceEvent::Typing(socket, ..) => {
                    assert_eq!(open.get(&socket.key()), Some(&true), "out of order: {event:?}");
                }
                _ => {}
            }
        }
        assert!(open.values().all(|open| !open), "a connection without its disconnect");
    }
}
