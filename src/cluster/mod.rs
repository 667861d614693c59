//! The other servers, over Redis: instances of this package, and Node.js servers with `@socket.io/redis-adapter`.
//!
//! | module | owns |
//! |---|---|
//! | [`connection`] | the connections to Redis: made again for ever, publishing and subscribing apart |
//! | [`msgpack`] | JSON text to MessagePack and back, without recursion |
//! | [`classic`] | the messages of `@socket.io/redis-adapter`, byte for byte |

mod classic;
mod connection;
mod msgpack;

use std::sync::Arc;

use bytes::Bytes;

use crate::service::Service;

/// The part that a service has in a cluster.
#[derive(Debug)]
pub struct Cluster {}

/// `getStats().cluster`.
#[derive(Debug, Clone, Default)]
pub struct ClusterState {
    /// `connecting`, `ready` or `degraded`.
    pub status: &'static str,
    /// This instance's name in the cluster.
    pub uid: String,
    /// Living instances of this package, this one included.
    pub instances: usize,
    /// Publications that wait for Redis.
    pub queued: usize,
    /// Publications that were dropped because too many waited.
    pub dropped: u64,
    /// Publications of other instances that never arrived.
    pub lost: u64,
    /// Messages on our channels that could not be read.
    pub ignored: u64,
    /// Publications that Redis has taken.
    pub published: u64,
    /// Messages that came from other servers.
    pub received: u64,
}

/// Which sockets of all servers are meant: members of any of these rooms, everyone when there is none.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Names of rooms; every socket is in the room of its own id.
    pub rooms: Vec<String>,
    /// Names of rooms whose members are left out.
    pub except: Vec<String>,
}

impl Cluster {
    /// Joins the cluster that the options name, if they name one.
    pub fn start(service: &Arc<Service>, runtime: &tokio::runtime::Handle) -> Option<Arc<Self>> {
        let _ = (service, runtime);
        None
    }

    /// How it stands with the cluster.
    pub fn state(&self) -> ClusterState {
        ClusterState::default()
    }

    /// `getStats()` of the other instances, as their last beats told.
    pub fn others(&self) -> Vec<crate::service::ConnectionStats> {
        Vec::new()
    }

    /// Resolves when the cluster has been joined: everything that the others know is known here.
    pub async fn ready(&self) {}

    /// Resolves when what was published before has left, or at once when Redis is away.
    pub async fn published(&self) {}

    /// Asks the other servers for the names of their Socket.IO rooms. Answered under this number: strings.
    pub fn ask_rooms(self: &Arc<Self>, id: u64) {
        let _ = id;
    }

    /// Asks the other servers for their sockets. Answered under this number: `{id, handshake, rooms, data}`.
    pub fn ask_sockets(self: &Arc<Self>, id: u64, selection: &Selection) {
        let _ = (id, selection);
    }

    /// Sends an event, a JSON array, to the applications of the other servers. With a number, their acknowledgements
    /// are awaited and answered under it: the first argument of each.
    pub fn emit_to_servers(self: &Arc<Self>, args: &str, id: Option<u64>) {
        let _ = (args, id);
    }

    /// The application acknowledges `ServiceEvent::ServerSide` of this number with a JSON array of arguments.
    pub fn acknowledge_server(&self, number: u64, args: &str) {
        let _ = (number, args);
    }

    /// The application answers `ServiceEvent::DataWanted` of this number with a JSON array: the data of each socket.
    pub fn give_data(&self, number: u64, json: &str) {
        let _ = (number, json);
    }

    /// Asks the clients of the other servers, and those in `here`, for an acknowledgement of an event. Answered
    /// under this number: the first argument of each; with an error when some did not answer in time.
    pub fn ask_clients(
        self: &Arc<Self>,
        id: u64,
        selection: &Selection,
        args: &str,
        attachments: Vec<Bytes>,
        timeout: std::time::Duration,
    ) {
        let _ = (id, selection, args, attachments, timeout);
    }

    /// Makes sockets of the other servers join rooms, or leave them.
    pub fn move_sockets(&self, selection: &Selection, rooms: &[String], join: bool) {
        let _ = (selection, rooms, join);
    }

    /// Disconnects sockets of the other servers; their transports as well with `close`.
    pub fn disconnect_sockets(&self, selection: &Selection, close: bool) {
        let _ = (selection, close);
    }
}
