//! Sockets of instances that are lost: their clients may come to others, which know what they have missed. They count as
//! present until then, or for as long as a client may be away.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::Instant;

use crate::{
    hub::Socket,
    service::{Loss, Service},
};

/// Sockets without an instance, in the order in which they lost it, and how long they stay.
#[derive(Debug, Default)]
pub(super) struct Orphans(VecDeque<(Instant, Arc<Socket>)>);

impl Orphans {
    /// Takes a socket in whose instance is lost. False when its client cannot come back, here.
    pub(super) fn take(&mut self, service: &Service, socket: &Arc<Socket>) -> bool {
        let recovery = service.config.connection_state_recovery.as_ref();
        let Some(recovery) = recovery.filter(|_| socket.recovery().is_some()) else {
            return false;
        };
        socket.orphan();
        let until = Instant::now() + recovery.max_disconnection_duration;
        self.0.push_back((until, socket.clone()));
        true
    }

    /// Those whose time is over are lost. Nothing happens to those that have been taken over, or whose instance was not lost
    /// after all.
    pub(super) fn give_up(&mut self, service: &Service, loss: &Loss) {
        let now = Instant::now();
        while let Some((_, socket)) = self.0.pop_front_if(|(until, _)| *until <= now) {
            service.lose(&socket, loss);
        }
    }
}
