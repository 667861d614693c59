//! Answers to what other servers ask in the manner of `@socket.io/redis-adapter`: instances of this package and
//! Node.js servers alike.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{Cluster, log::Body};
use crate::{
    adapter::{
        msgpack::Unfit,
        request::{self, Call, Request, Target},
        response::{self, LocalSocket},
    },
    clock,
    hub::Socket,
    link::Ending,
    ports::ServiceEvent,
    selection::{Selection, names},
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

impl Cluster {
    /// A request of another server.
    pub(super) fn request_arrived(self: &Arc<Self>, payload: &[u8]) {
        let request = match request::decode(payload) {
            Ok(request) => request,
            Err(error) => return self.ignore(&self.channels.classic.request, &error.to_string()),
        };
        if request.uid.as_deref() == Some(&*self.uid) {
            return;
        }
        self.received.fetch_add(1, Ordering::Relaxed);
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
            Call::Join { target, rooms } => {
                let sockets = self.targets(&asker, &target);
                for (socket, room) in pairs(&sockets, &rooms) {
                    let _ = self.service.socket_join(socket, room);
                }
            }
            Call::Leave { target, rooms } => {
                let sockets = self.targets(&asker, &target);
                for (socket, room) in pairs(&sockets, &rooms) {
                    self.service.socket_leave(socket, room);
                }
            }
            Call::Disconnect { target, close } => {
                for socket in self.targets(&asker, &target) {
                    self.service
                        .disconnect(&socket, "server namespace disconnect", Ending::kick(close));
                }
            }
            Call::Fetch(selection) => {
                let cluster = self.clone();
                self.spawn(async move { cluster.answer_fetch(asker, selection).await });
            }
            Call::ServerSideEmit { args } => self.server_side_event(asker, args),
            Call::Broadcast {
                args,
                attachments,
                to,
                flags,
            } => {
                let patience = flags.timeout.map_or(ACK_PATIENCE, Duration::from_millis);
                let patience = patience.min(MOST_PATIENCE);
                self.ask_own_clients(asker, &to, &args, attachments, patience);
            }
            Call::Unknown(_) => {}
        }
    }

    /// The sockets of this instance that a request means. One that means a single socket expects a confirmation.
    fn targets(&self, asker: &Asker, target: &Target) -> Vec<Arc<Socket>> {
        match target {
            Target::Rooms(selection) => self.selected(selection),
            Target::Socket(socket_id) => {
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
            .map(|socket| (socket, whole_handshake(socket), self.service.socket_rooms(socket)))
            .collect();
        let rooms: Vec<Vec<&str>> = described
            .iter()
            .map(|(_, _, rooms)| rooms.iter().map(String::as_str).collect())
            .collect();
        let sockets: Vec<_> = described
            .iter()
            .zip(&rooms)
            .enumerate()
            .map(|(index, ((socket, handshake, _), rooms))| LocalSocket {
                id: socket.id(),
                handshake,
                rooms,
                data: data.get(index).map_or("{}", |data| data.get()),
            })
            .collect();
        self.answer(&asker, |id| response::sockets(id, &sockets));
    }

    /// What the application keeps in `socket.data`, for each of these sockets in order; nothing when JavaScript has no
    /// object of any of them, or is busy.
    async fn data_of(&self, sockets: &[Arc<Socket>]) -> Vec<Box<RawValue>> {
        if !sockets.iter().any(|socket| socket.is_touched()) {
            return Vec::new();
        }
        let (sender, data) = oneshot::channel();
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        self.data_wanted.insert(number, sender);
        self.service
            .sink()
            .emit(ServiceEvent::DataWanted(number, sockets.to_vec()));
        let data = tokio::time::timeout(DATA_PATIENCE, data).await;
        self.data_wanted.remove(&number);
        let data = data.ok().and_then(Result::ok).unwrap_or_default();
        let data: Vec<Box<RawValue>> = serde_json::from_str(&data).unwrap_or_default();
        if data.len() == sockets.len() { data } else { Vec::new() }
    }

    /// `serverSideEmit` of another server, for the application.
    fn server_side_event(&self, asker: Asker, args: String) {
        let ack = match &asker.id {
            Some(_) => {
                let number = self.next_number.fetch_add(1, Ordering::Relaxed);
                let mut owed = self.owed.lock();
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
    pub fn acknowledge_server(&self, number: u64, args: &str) {
        let owed = self.owed.lock().remove(&number);
        if let Some((_, asker)) = owed {
            let args: Vec<&RawValue> = serde_json::from_str(args).unwrap_or_default();
            let first = args.first().map(|value| value.get());
            // As the adapter: on the common channel.
            if let Some(Ok(payload)) = asker.id.as_deref().map(|id| response::answer(id, first)) {
                self.say_raw(&self.channels.classic.response, payload);
            }
        }
    }

    /// The application answers `ServiceEvent::DataWanted` of this number with a JSON array: the data of each socket.
    pub fn give_data(&self, number: u64, json: &str) {
        if let Some((_, wanted)) = self.data_wanted.remove(&number) {
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
        let (cluster, collected_for) = (self.clone(), asker.clone());
        let on_ack = Box::new(move |args: &str, attachments: &[Bytes]| {
            cluster.answer(&collected_for, |id| response::ack(id, args, attachments));
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
                Some(uid) => self.say_raw(&self.channels.classic.response_to(uid), payload),
                None => self.say_raw(&self.channels.classic.response, payload),
            },
            Err(error) => tracing::warn!(%error, "a request of another server cannot be answered"),
        }
    }

    pub(super) fn say_raw(&self, channel: &str, payload: Vec<u8>) {
        let channel = Bytes::copy_from_slice(channel.as_bytes());
        self.outbox.log.say(Body::Raw(channel, payload.into()));
    }

    /// Forgets what is no longer waited for.
    pub(super) fn expire_answers(&self) {
        let now = Instant::now();
        self.owed.lock().retain(|_, (until, _)| *until > now);
        self.service.expire_acks();
    }
}

/// Who asks, and under which number.
#[derive(Debug, Clone)]
pub(super) struct Asker {
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
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut parameters = serde_json::Map::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match parameters.get_mut(&*key) {
            // As Node.js reads a repeated parameter.
            Some(serde_json::Value::Array(values)) => values.push(value.into()),
            Some(first) => *first = serde_json::Value::Array(vec![first.take(), value.into()]),
            None => {
                parameters.insert(key.into_owned(), value.into());
            }
        }
    }
    let origin = member(&handshake, "headers").and_then(|headers| member(&headers, "origin"));
    let is_cross_domain = origin.is_some_and(|origin| origin != "\"\"");
    let told = handshake.trim_end().strip_suffix('}').unwrap_or("{");
    let comma = if told.len() > 1 { "," } else { "" };
    format!(
        "{told}{comma}\"query\":{},\"time\":{},\"xdomain\":{is_cross_domain}}}",
        serde_json::Value::from(parameters),
        json::quoted(&clock::date_text(socket.connected_at)),
    )
}

fn pairs<'a>(sockets: &'a [Arc<Socket>], rooms: &'a [Box<str>]) -> impl Iterator<Item = (&'a Arc<Socket>, &'a str)> {
    sockets
        .iter()
        .flat_map(move |socket| rooms.iter().map(move |room| (socket, &**room)))
}
