//! Socket.IO's operators: what is meant for the sockets of some rooms.

use std::borrow::Cow;

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

use super::{binding::NativeService, packets::event};
use crate::{disconnect::DisconnectReason, link::Ending, selection::Selection};

/// Sockets by their rooms.
pub(super) fn selection(rooms: Vec<String>, except: Vec<String>) -> Selection<'static> {
    Selection {
        rooms: rooms.into_iter().map(Cow::Owned).collect(),
        except: except.into_iter().map(Cow::Owned).collect(),
        ..Selection::default()
    }
}

#[napi]
impl NativeService {
    /// Sends an event to the members of any of these rooms, but not of `except`; to everyone without rooms. With
    /// `local`, on this instance only.
    #[napi(catch_unwind)]
    pub fn emit_to(
        &self,
        rooms: Vec<String>,
        except: Vec<String>,
        args: String,
        attachments: Vec<Buffer>,
        volatile: bool,
        local: bool,
    ) {
        let selection = Selection {
            volatile,
            local,
            ..selection(rooms, except)
        };
        self.server.service().emit(&selection, &event(&args, attachments));
    }

    /// Sends an event to a socket that is not connected to this instance.
    #[napi(catch_unwind)]
    pub fn emit_elsewhere(&self, socket_id: String, args: String, attachments: Vec<Buffer>) {
        let packet = event(&args, attachments);
        self.server.service().emit_to_socket(&socket_id, packet, false);
    }

    /// Ids of the sockets of this instance that are meant.
    #[napi(catch_unwind)]
    pub fn selected(&self, rooms: Vec<String>, except: Vec<String>) -> Vec<String> {
        let _rest = self.server.service().at_rest();
        let sockets = self.server.service().selected(&selection(rooms, except));
        sockets.iter().map(|socket| socket.id().to_owned()).collect()
    }

    /// Makes the sockets that are meant join rooms, or leave them; with `local`, those of this instance only.
    #[napi(catch_unwind)]
    pub fn move_sockets(&self, rooms: Vec<String>, except: Vec<String>, names: Vec<String>, join: bool, local: bool) {
        let selection = selection(rooms, except);
        self.server.service().move_selected(&selection, &names, join);
        if let Some(cluster) = self.server.cluster().filter(|_| !local) {
            cluster.move_sockets(&selection, &names, join);
        }
    }

    /// Disconnects the sockets that are meant, their transports as well with `close`; with `local`, those of this
    /// instance only.
    #[napi(catch_unwind)]
    pub fn disconnect_sockets(&self, rooms: Vec<String>, except: Vec<String>, close: bool, local: bool) {
        let selection = selection(rooms, except);
        let service = self.server.service();
        for socket in service.selected(&selection) {
            service.disconnect(&socket, DisconnectReason::ServerLeft, Ending::kick(close));
        }
        if let Some(cluster) = self.server.cluster().filter(|_| !local) {
            cluster.disconnect_sockets(&selection, close);
        }
    }

    /// Names of the Socket.IO rooms with members on this instance.
    #[napi(catch_unwind)]
    pub fn room_names(&self) -> Vec<String> {
        let _rest = self.server.service().at_rest();
        self.server.service().room_names().into_iter().collect()
    }
}
