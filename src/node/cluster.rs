//! The other servers of the cluster: how it stands, questions to them and answers to theirs.
//!
//! A question has a number, under which JavaScript hears the answer. Without a cluster nothing is asked, and only
//! [`NativeService::ready`] and [`NativeService::published`] report.

use std::{sync::Arc, time::Duration};

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use parking_lot::Mutex;

use super::{
    binding::{NativeService, bytes_of, index},
    protocol::{ClusterFigures, Figures},
    queue::{Item, Queue},
    selection::selection,
};
use crate::{error::Error, ports::Answer};

/// Reports how an operation went when everything that works on it has let go of this.
struct Outcome {
    id: f64,
    queue: Arc<Queue>,
    error: Mutex<Option<Error>>,
}

impl Outcome {
    /// `error`: how it went unless somebody says otherwise.
    fn new(id: f64, queue: &Arc<Queue>, error: Option<Error>) -> Arc<Self> {
        Arc::new(Self {
            id,
            queue: queue.clone(),
            error: Mutex::new(error),
        })
    }

    /// An answer that decides how it went.
    fn decide(self: Arc<Self>) -> Answer {
        Box::new(move |outcome| *self.error.lock() = outcome.err())
    }

    /// One answer of several: a socket that is gone is as good as disconnected.
    fn collect(self: Arc<Self>) -> Answer {
        Box::new(move |outcome| {
            if let Err(error) = outcome
                && error.code() != Error::NOT_FOUND
            {
                *self.error.lock() = Some(error);
            }
        })
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.queue.push(match self.error.get_mut().take() {
            Some(error) => Item::Failed(self.id, error),
            None => Item::Done(self.id),
        });
    }
}

#[napi]
impl NativeService {
    /// Whether the service is one of a cluster.
    #[napi(catch_unwind)]
    pub fn is_clustered(&self) -> bool {
        self.server.cluster().is_some()
    }

    /// How it stands with the cluster; null without one.
    #[napi(catch_unwind)]
    pub fn cluster_state(&self) -> Option<ClusterFigures> {
        self.server.cluster().map(|cluster| cluster.state().into())
    }

    /// [`NativeService::stats`] of each of the other instances.
    #[napi(catch_unwind)]
    pub fn other_stats(&self) -> Vec<Figures> {
        let others = self.server.cluster().map_or_else(Vec::new, |cluster| cluster.others());
        others.into_iter().map(Figures::from).collect()
    }

    /// Reports under this number when the cluster has been joined; that the service is closed when it ends before.
    #[napi(catch_unwind)]
    pub fn ready(&self, id: f64) {
        let (cluster, queue) = (self.server.cluster().cloned(), self.queue.clone());
        self.server.runtime().spawn(async move {
            let is_joined = match cluster {
                Some(cluster) => cluster.ready().await,
                None => true,
            };
            queue.push(match is_joined {
                true => Item::Done(id),
                false => Item::Failed(id, Error::Closed),
            });
        });
    }

    /// Reports under this number when what was published before has left.
    #[napi(catch_unwind)]
    pub fn published(&self, id: f64) {
        let (cluster, queue) = (self.server.cluster().cloned(), self.queue.clone());
        self.server.runtime().spawn(async move {
            if let Some(cluster) = cluster {
                cluster.published().await;
            }
            queue.push(Item::Done(id));
        });
    }

    /// `joinRoom` for a socket of any instance; its outcome is reported under this number.
    #[napi(catch_unwind)]
    pub fn join_room_anywhere(&self, id: f64, socket_id: String, room_id: String) {
        let outcome = Outcome::new(id, &self.queue, Some(Error::UserOrRoomNotFound));
        let service = self.server.service();
        service.join_room_anywhere(&socket_id, &room_id, outcome.decide());
    }

    /// `leaveRoom` for a socket of any instance; its outcome is reported under this number.
    #[napi(catch_unwind)]
    pub fn leave_room_anywhere(&self, id: f64, socket_id: String, room_id: String) {
        let outcome = Outcome::new(id, &self.queue, None);
        let service = self.server.service();
        service.leave_room_anywhere(&socket_id, &room_id, outcome.collect());
    }

    /// `disconnectUser` for the sockets of other instances; reported under this number when all have answered.
    #[napi(catch_unwind)]
    pub fn disconnect_user_elsewhere(&self, id: f64, user_id: String, reason: String) {
        let outcome = Outcome::new(id, &self.queue, None);
        let service = self.server.service();
        service.disconnect_remote(&user_id, &reason.as_str().into(), &|| outcome.clone().collect());
    }

    /// Asks the other servers for the names of their Socket.IO rooms.
    #[napi(catch_unwind)]
    pub fn ask_rooms(&self, id: f64) {
        if let Some(cluster) = self.server.cluster() {
            cluster.ask_rooms(index(id));
        }
    }

    /// Asks the other servers for the sockets that are meant.
    #[napi(catch_unwind)]
    pub fn ask_sockets(&self, id: f64, rooms: Vec<String>, except: Vec<String>) {
        if let Some(cluster) = self.server.cluster() {
            cluster.ask_sockets(index(id), selection(rooms, except));
        }
    }

    /// Asks the clients of the other servers that are meant for an acknowledgement, for at most so many milliseconds.
    #[napi(catch_unwind)]
    pub fn ask_clients(
        &self,
        id: f64,
        rooms: Vec<String>,
        except: Vec<String>,
        args: String,
        attachments: Vec<Buffer>,
        timeout_ms: f64,
    ) {
        if let Some(cluster) = self.server.cluster() {
            let timeout = Duration::from_millis(index(timeout_ms));
            cluster.ask_clients(
                index(id),
                selection(rooms, except),
                &args,
                bytes_of(attachments),
                timeout,
            );
        }
    }

    /// Sends an event, a JSON array, to the applications of the other servers; with a number, they are to answer.
    #[napi(catch_unwind)]
    pub fn emit_to_servers(&self, args: String, id: Option<f64>) {
        if let Some(cluster) = self.server.cluster() {
            cluster.emit_to_servers(&args, id.map(index));
        }
    }

    /// Answers the event of another server's application with a JSON array of arguments.
    #[napi(catch_unwind)]
    pub fn acknowledge_server(&self, number: f64, args: String) {
        if let Some(cluster) = self.server.cluster() {
            cluster.acknowledge_server(index(number), &args);
        }
    }

    /// Gives another server what the application keeps in `socket.data`: a JSON array.
    #[napi(catch_unwind)]
    pub fn give_data(&self, number: f64, json: String) {
        if let Some(cluster) = self.server.cluster() {
            cluster.give_data(index(number), &json);
        }
    }
}
