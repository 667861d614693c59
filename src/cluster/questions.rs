//! What this instance asks the other servers in the manner of `@socket.io/redis-adapter`, and their answers.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    bus::{Bus, BusError},
    channels::Channels,
    log::Log,
    status::Status,
    tasks::Tasks,
};
use crate::{
    adapter::{
        self,
        broadcast::{Flags, Outgoing},
        msgpack::Unfit,
        request::{self, Rooms},
        response::{self, Asked, Response},
    },
    error::Error,
    ports::{EventSink, ServiceEvent},
    selection::Selection,
};

/// The questions of this instance.
pub(super) struct Questions {
    pub(super) uid: Arc<str>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) log: Arc<Log>,
    pub(super) channels: Arc<Channels>,
    pub(super) status: Arc<Status>,
    pub(super) sink: Arc<dyn EventSink>,
    pub(super) tasks: Arc<Tasks>,
    pub(super) requests_timeout: Duration,
    /// Those that wait for answers, by their request ids.
    pub(super) pending: Mutex<HashMap<Box<str>, Pending>>,
}

/// A question that waits for its answers.
#[derive(Debug)]
pub(super) struct Pending {
    asked: Asked,
    /// Servers that have answered.
    servers: u64,
    /// Acknowledgements that clients will send, as far as it is known.
    clients: u64,
    answers: Vec<String>,
    attachments: Vec<Bytes>,
    changed: Arc<Notify>,
}

impl Pending {
    fn new(asked: Asked) -> Self {
        Self {
            asked,
            servers: 0,
            clients: 0,
            answers: Vec::new(),
            attachments: Vec::new(),
            changed: Arc::default(),
        }
    }

    fn is_complete(&self, servers: u64) -> bool {
        let has_servers = self.servers >= servers;
        has_servers && (self.asked != Asked::Broadcast || self.answers.len() as u64 >= self.clients)
    }

    fn take(&mut self, response: Response) {
        match response {
            Response::Rooms(rooms) => {
                self.servers += 1;
                self.answers
                    .extend(rooms.iter().filter_map(|room| serde_json::to_string(room).ok()));
            }
            Response::Sockets(sockets) => {
                self.servers += 1;
                self.answers.extend(sockets.iter().filter_map(socket_json));
            }
            Response::Answer(answer) => {
                self.servers += 1;
                self.answers.push(answer.unwrap_or_else(null));
            }
            Response::ClientCount(count) => {
                self.servers += 1;
                self.clients = self.clients.saturating_add(count);
            }
            Response::Ack { value, attachments } => {
                self.answers.push(value.unwrap_or_else(null));
                self.attachments.extend(attachments);
            }
        }
    }
}

fn null() -> String {
    "null".to_owned()
}

fn socket_json(socket: &response::RemoteSocket) -> Option<String> {
    let (id, rooms) = (serde_json::to_string(&socket.id), serde_json::to_string(&socket.rooms));
    Some(format!(
        "{{\"id\":{},\"handshake\":{},\"rooms\":{},\"data\":{}}}",
        id.ok()?,
        socket.handshake,
        rooms.ok()?,
        socket.data
    ))
}

impl Questions {
    /// Asks the other servers for the names of their Socket.IO rooms. Answered under this number: strings.
    pub(super) fn ask_rooms(self: &Arc<Self>, id: u64) {
        let questions = self.clone();
        self.ask(id, Asked::AllRooms, self.requests_timeout, move |request_id| {
            request::all_rooms(&questions.uid, request_id)
        });
    }

    /// Asks the other servers for their sockets. Answered under this number: `{id, handshake, rooms, data}`.
    pub(super) fn ask_sockets(self: &Arc<Self>, id: u64, selection: Selection<'static>) {
        let questions = self.clone();
        self.ask(id, Asked::Fetch, self.requests_timeout, move |request_id| {
            with_rooms(&selection, |rooms| request::fetch(&questions.uid, request_id, rooms))
        });
    }

    /// Sends an event, a JSON array, to the applications of the other servers. With a number, their acknowledgements
    /// are awaited and answered under it: the first argument of each.
    pub(super) fn emit_to_servers(self: &Arc<Self>, args: &str, id: Option<u64>) {
        let Some(id) = id else {
            return self.send_request(request::server_side_emit(&self.uid, None, args));
        };
        let (questions, args) = (self.clone(), args.to_owned());
        self.ask(id, Asked::ServerSideEmit, self.requests_timeout, move |request_id| {
            request::server_side_emit(&questions.uid, Some(request_id), &args)
        });
    }

    /// Asks the clients of the other servers for an acknowledgement of an event. Answered under this number: the first
    /// argument of each; with an error when some did not answer in time.
    pub(super) fn ask_clients(
        self: &Arc<Self>,
        id: u64,
        selection: Selection<'static>,
        args: &str,
        attachments: Vec<Bytes>,
        timeout: Duration,
    ) {
        let (questions, args) = (self.clone(), args.to_owned());
        self.ask(id, Asked::Broadcast, timeout, move |request_id| {
            let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            with_rooms(&selection, |Rooms { rooms, except }| {
                let packet = Outgoing {
                    uid: &questions.uid,
                    args: &args,
                    attachments: &attachments,
                    rooms,
                    except,
                    flags: Flags {
                        timeout: Some(timeout),
                        ..Flags::default()
                    },
                };
                request::broadcast(&packet, request_id)
            })
        });
    }

    /// Makes sockets of the other servers join rooms, or leave them.
    pub(super) fn move_sockets(&self, selection: &Selection<'_>, rooms: &[String], join: bool) {
        let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
        let request = with_rooms(selection, |of| match join {
            true => request::join(&self.uid, of, &rooms),
            false => request::leave(&self.uid, of, &rooms),
        });
        self.send_request(request);
    }

    /// Disconnects sockets of the other servers; their transports as well with `close`.
    pub(super) fn disconnect_sockets(&self, selection: &Selection<'_>, close: bool) {
        self.send_request(with_rooms(selection, |of| request::disconnect(&self.uid, of, close)));
    }

    fn send_request(&self, request: Result<Vec<u8>, Unfit>) {
        match request {
            Ok(payload) => self.log.send_raw(&self.channels.classic.request, payload),
            Err(error) => tracing::warn!(%error, "a request cannot be sent to other servers"),
        }
    }

    fn ask(
        self: &Arc<Self>,
        id: u64,
        asked: Asked,
        timeout: Duration,
        encode: impl FnOnce(&str) -> Result<Vec<u8>, Unfit> + Send + 'static,
    ) {
        let questions = self.clone();
        self.tasks.spawn(async move {
            let request_id = adapter::random_id().unwrap_or_else(|| "000000".into());
            let pending = Pending::new(asked);
            let changed = pending.changed.clone();
            questions.pending.lock().insert(request_id.clone(), pending);
            let outcome = questions.publish(&request_id, timeout, &changed, encode).await;
            let pending = questions.pending.lock().remove(&request_id);
            let (answers, attachments) =
                pending.map_or_else(Default::default, |pending| (pending.answers, pending.attachments));
            questions.sink.emit(ServiceEvent::Answered {
                id,
                error: outcome.err(),
                json: format!("[{}]", answers.join(",")),
                attachments,
            });
        });
    }

    /// Publishes a question and waits for its answers.
    async fn publish(
        &self,
        request_id: &str,
        timeout: Duration,
        changed: &Notify,
        encode: impl FnOnce(&str) -> Result<Vec<u8>, Unfit>,
    ) -> Result<(), Error> {
        let servers = self.count_servers().await;
        let servers = servers.map_err(|error| Error::Unasked(format!("the other servers cannot be asked: {error}")))?;
        if servers == 0 {
            return Ok(());
        }
        let payload = encode(request_id).map_err(|error| Error::Unasked(error.to_string()))?;
        self.log.send_raw(&self.channels.classic.request, payload);
        let complete = async {
            loop {
                let news = changed.notified();
                let is_complete = |pending: &Pending| pending.is_complete(servers);
                if self.pending.lock().get(request_id).is_none_or(is_complete) {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(timeout, complete)
            .await
            .map_err(|_| Error::TimedOut)
    }

    /// Number of other servers, Node.js servers included.
    async fn count_servers(&self) -> Result<u64, BusError> {
        let subscribed = self.bus.subscribers(&self.channels.classic.request).await?;
        Ok(subscribed.saturating_sub(1))
    }

    /// A response of another server, to us or to others.
    pub(super) fn response_arrived(&self, payload: &[u8]) {
        let Ok(request_id) = response::request_id(payload) else {
            return self.status.ignore(&self.channels.classic.response, "not a response");
        };
        let mut pending = self.pending.lock();
        let Some(question) = pending.get_mut(&request_id) else {
            return;
        };
        self.status.received();
        match response::decode(payload, question.asked, question.attachments.len()) {
            Ok(response) => {
                question.take(response);
                question.changed.notify_one();
            }
            Err(error) => {
                drop(pending);
                self.status.ignore(&self.channels.classic.response, &error.to_string());
            }
        }
    }
}

/// The rooms and exceptions of a selection, as requests have them.
fn with_rooms<R>(selection: &Selection<'_>, run: impl FnOnce(Rooms<'_>) -> R) -> R {
    let rooms: Vec<&str> = selection.rooms.iter().map(|room| &**room).collect();
    let except: Vec<&str> = selection.except.iter().map(|name| &**name).collect();
    run(Rooms {
        rooms: &rooms,
        except: &except,
    })
}
