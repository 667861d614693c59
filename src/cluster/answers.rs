//! Answers to what other servers ask in the manner of `@socket.io/redis-adapter`: instances of this package and
//! Node.js servers alike.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use dashmap::DashMap;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{channels::Channels, log::Log, status::Status, tasks::Tasks};
use crate::{
    adapter::{
        msgpack::Unfit,
        request::{self, Affected, Call, Request},
        response::{self, LocalSocket},
    },
    clock,
    disconnect::DisconnectReason,
    hub::{Query, Socket},
    link::Ending,
    ports::ServiceEvent,
    selection::{Selection, names},
    service::Service,
    wire::json,
};

/// How long JavaScript may take to tell what it keeps in `socket.data`.
const DATA_PATIENCE: Duration = Duration::from_secs(1);
/// How long acknowledgements are awaited when the asking server does not say.
const ACK_PATIENCE: Duration = Duration::from_secs(5);
/// Longest time that acknowledgements are awaited, whatever another server asks for.
const MOST_PATIENCE: Duration = Duration::from_secs(600);
/// Acknowledgements of `serverSideEmit` that JavaScript may owe; beyond it the oldest ones are not waited for.
const MOST_OWED: usize = 10_000;

/// The answers of this instance.
pub(super) struct Answers {
    pub(super) uid: Arc<str>,
    pub(super) service: Arc<Service>,
    pub(super) log: Arc<Log>,
    pub(super) channels: Arc<Channels>,
    pub(super) status: Arc<Status>,
    pub(super) tasks: Arc<Tasks>,
    pub(super) requests_timeout: Duration,
    pub(super) wanted: Wanted,
}

/// What JavaScript is yet to tell, by numbers.
#[derive(Default)]
pub(super) struct Wanted {
    /// Acknowledgements that it owes other servers, and until when they wait.
    acks: Mutex<BTreeMap<u64, (Instant, Asker)>>,
    data: DashMap<u64, oneshot::Sender<String>>,
    next: AtomicU64,
}

impl Wanted {
    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Answers {
    /// A request of another server.
    pub(super) fn request_arrived(self: &Arc<Self>, payload: &[u8]) {
        let request = match request::decode(payload) {
            Ok(request) => request,
            Err(error) => return self.status.ignore(&self.channels.classic.request, &error.to_string()),
        };
        if request.uid.as_deref() == Some(&*self.uid) {
            return;
        }
        self.status.received();
        self.handle(request);
    }

    fn handle(self: &Arc<Self>, request: Request) {
        let Request { uid, id, call } = request;
        let asker = Asker { uid, id };
        match call {
            Call::Sockets { rooms } => {
                let sockets = self.service.selected(&Selection {
                    rooms: names(&rooms),
                    ..Selection::default()
                });
                let ids: Vec<&str> = sockets.iter().map(|socket| socket.id()).collect();
                self.answer(&asker, |id| response::socket_ids(id, &ids));
            }
            Call::AllRooms => {
                let names = self.service.room_names();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.answer(&asker, |id| response::rooms(id, &names));
            }
            Call::Join { affected, rooms } => {
                let sockets = self.affected(&asker, &affected);
                for (socket, room) in pairs(&sockets, &rooms) {
                    let _ = self.service.socket_join(socket, room);
                }
            }
            Call::Leave { affected, rooms } => {
                let sockets = self.affected(&asker, &affected);
                for (socket, room) in pairs(&sockets, &rooms) {
                    self.service.socket_leave(socket, room);
                }
            }
            Call::Disconnect { affected, close } => {
                for socket in self.affected(&asker, &affected) {
                    self.service
                        .disconnect(&socket, DisconnectReason::ServerLeft, Ending::kick(close));
                }
            }
            Call::Fetch(selection) => {
                let answers = self.clone();
                self.tasks
                    .spawn(async move { answers.answer_fetch(asker, selection).await });
            }
            Call::ServerSideEmit { args } => self.server_side_event(asker, args),
            Call::Broadcast {
                args,
                attachments,
                to,
                timeout,
            } => {
                let patience = timeout.map_or(ACK_PATIENCE, Duration::from_millis);
                let patience = patience.min(MOST_PATIENCE);
                self.ask_own_clients(asker, &to, &args, attachments, patience);
            }
            Call::Unknown(_) => {}
        }
    }

    /// The sockets of this instance that a request means. One that means a single socket expects a confirmation.
    fn affected(&self, asker: &Asker, affected: &Affected) -> Vec<Arc<Socket>> {
        match affected {
            Affected::Rooms(selection) => self.selected(selection),
            Affected::Socket(socket_id) => {
                let socket = self.service.hub.socket(socket_id);
                if socket.is_some() {
                    self.answer(asker, response::confirmation);
                }
                socket.into_iter().collect()
            }
        }
    }

    fn selected(&self, selection: &request::Selection) -> Vec<Arc<Socket>> {
        self.service.selected(&Selection {
            rooms: names(&selection.rooms),
            except: names(&selection.except),
            ..Selection::default()
        })
    }

    async fn answer_fetch(self: Arc<Self>, asker: Asker, selection: request::Selection) {
        let sockets = self.selected(&selection);
        let data = self.data_of(&sockets).await;
        let described: Vec<_> = sockets
            .iter()
            .map(|socket| {
                (
                    socket,
                    whole_handshake(socket),
                    self.service.socket_rooms(socket),
                    socket.told_data(),
                )
            })
            .collect();
        let rooms: Vec<Vec<&str>> = described
            .iter()
            .map(|(_, _, rooms, _)| rooms.iter().map(String::as_str).collect())
            .collect();
        let sockets: Vec<_> = described
            .iter()
            .zip(&rooms)
            .enumerate()
            .map(|(index, ((socket, handshake, _, told), rooms))| LocalSocket {
                id: socket.id(),
                handshake,
                rooms,
                data: data
                    .get(index)
                    .map_or_else(|| told.as_deref().unwrap_or("{}"), |data| data.get()),
            })
            .collect();
        self.answer(&asker, |id| response::sockets(id, &sockets));
    }

    /// What the application keeps in `socket.data`, for each of these sockets in order; nothing when JavaScript has no
    /// object of any of them, or is busy.
    pub(super) async fn data_of(&self, sockets: &[Arc<Socket>]) -> Vec<Box<RawValue>> {
        if !sockets.iter().any(|socket| socket.is_touched()) {
            return Vec::new();
        }
        let (sender, data) = oneshot::channel();
        let number = self.wanted.next();
        self.wanted.data.insert(number, sender);
        self.service
            .sink()
            .emit(ServiceEvent::DataWanted(number, sockets.to_vec()));
        let data = tokio::time::timeout(DATA_PATIENCE, data).await;
        self.wanted.data.remove(&number);
        let data = data.ok().and_then(Result::ok).unwrap_or_default();
        let data: Vec<Box<RawValue>> = serde_json::from_str(&data).unwrap_or_default();
        if data.len() == sockets.len() { data } else { Vec::new() }
    }

    /// `serverSideEmit` of another server, for the application.
    fn server_side_event(&self, asker: Asker, args: String) {
        let ack = match &asker.id {
            Some(_) => {
                let number = self.wanted.next();
                let mut owed = self.wanted.acks.lock();
                owed.insert(number, (Instant::now() + self.requests_timeout, asker));
                if owed.len() > MOST_OWED {
                    owed.pop_first();
                }
                Some(number)
            }
            None => None,
        };
        self.service
            .sink()
            .emit(ServiceEvent::ServerSide { args: args.into(), ack });
    }

    /// The application acknowledges `ServiceEvent::ServerSide` of this number with a JSON array of arguments.
    pub(super) fn acknowledge_server(&self, number: u64, args: &str) {
        let owed = self.wanted.acks.lock().remove(&number);
        if let Some((_, asker)) = owed {
            let args: Vec<&RawValue> = serde_json::from_str(args).unwrap_or_default();
            let first = args.first().map(|value| value.get());
            // As the adapter: on the common channel.
            if let Some(Ok(payload)) = asker.id.as_deref().map(|id| response::answer(id, first)) {
                self.log.send_raw(&self.channels.classic.response, payload);
            }
        }
    }

    /// The application answers `ServiceEvent::DataWanted` of this number with a JSON array: the data of each socket.
    pub(super) fn give_data(&self, number: u64, json: &str) {
        if let Some((_, wanted)) = self.wanted.data.remove(&number) {
            let _ = wanted.send(json.to_owned());
        }
    }

    /// Sends a packet to clients and passes their acknowledgements on: first how many are asked, then each.
    fn ask_own_clients(
        self: &Arc<Self>,
        asker: Asker,
        to: &request::Selection,
        args: &str,
        attachments: Vec<Bytes>,
        patience: Duration,
    ) {
        let sockets = self.selected(to);
        let (answers, collected_for) = (self.clone(), asker.clone());
        let on_ack = Box::new(move |args: &str, attachments: &[Bytes]| {
            answers.answer(&collected_for, |id| response::ack(id, args, attachments));
        });
        let counted = |count: usize| self.answer(&asker, |id| response::client_count(id, count as u64));
        let until = Instant::now() + patience;
        self.service
            .emit_expecting_acks(sockets, args, attachments, until, counted, on_ack);
    }

    /// Answers on the asker's own channel, which servers since 7.1 listen on, or else on the common one.
    fn answer(&self, asker: &Asker, encode: impl FnOnce(&str) -> Result<Vec<u8>, Unfit>) {
        let Some(id) = &asker.id else { return };
        match encode(id) {
            Ok(payload) => match &asker.uid {
                Some(uid) => self.log.send_raw(&self.channels.classic.response_to(uid), payload),
                None => self.log.send_raw(&self.channels.classic.response, payload),
            },
            Err(error) => tracing::warn!(%error, "a request of another server cannot be answered"),
        }
    }

    /// Forgets what is no longer waited for.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        self.wanted.acks.lock().retain(|_, (until, _)| *until > now);
        self.service.expire_acks();
    }
}

/// Who asks, and under which number.
#[derive(Debug, Clone)]
struct Asker {
    uid: Option<Box<str>>,
    id: Option<Box<str>>,
}

/// The handshake as Socket.IO's servers tell it: with the query, the time as text, and whether it came across domains.
/// What clients said stays text: it may be nested deep, or hold what Rust has no strings for.
fn whole_handshake(socket: &Socket) -> String {
    let handshake = socket.handshake();
    let member = |object: &str, name: &str| {
        let mut members = json::members(object)?;
        let (_, value) = members.find(|(key, _)| *key == name)?;
        Some(value.to_owned())
    };
    let url = member(&handshake, "url");
    let url = url.as_deref().and_then(json::string).unwrap_or_default();
    let origin = member(&handshake, "headers").and_then(|headers| member(&headers, "origin"));
    let is_cross_domain = origin.is_some_and(|origin| origin != "\"\"");
    let told = handshake.trim_end().strip_suffix('}').unwrap_or("{");
    let comma = if told.len() > 1 { "," } else { "" };
    format!(
        "{told}{comma}\"query\":{},\"time\":{},\"xdomain\":{is_cross_domain}}}",
        Query::of(&url).json(),
        json::quoted(&clock::date_text(socket.connected_at)),
    )
}

fn pairs<'a>(sockets: &'a [Arc<Socket>], rooms: &'a [Box<str>]) -> impl Iterator<Item = (&'a Arc<Socket>, &'a str)> {
    sockets
        .iter()
        .flat_map(move |socket| rooms.iter().map(move |room| (socket, &**room)))
}
