//! The life of a connection, under many orders of the steps of those who have a part in it: its session, the end of its
//! transport, and JavaScript.

use std::{collections::VecDeque, time::Duration};

use shuttle::{
    future::block_on,
    sync::{Condvar, Mutex},
    thread,
};
use tokio::runtime::Builder;

use super::*;
use crate::{
    disconnect::DisconnectReason,
    hub::{Identity, Socket, Unreachable},
};

/// JavaScript, as far as it has been told.
#[derive(Default)]
struct JavaScript {
    state: Mutex<Told>,
    changed: Condvar,
}

#[derive(Default)]
struct Told {
    /// Not heard yet.
    waiting: VecDeque<ServiceEvent>,
    /// All of them.
    names: Vec<&'static str>,
    is_over: bool,
}

impl JavaScript {
    /// The next event, or `None` when there will be none.
    fn hear(&self) -> Option<ServiceEvent> {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(event) = state.waiting.pop_front() {
                return Some(event);
            }
            if state.is_over {
                return None;
            }
            state = self.changed.wait(state).unwrap();
        }
    }

    fn end(&self) {
        self.state.lock().unwrap().is_over = true;
        self.changed.notify_all();
    }
}

impl EventSink for JavaScript {
    fn wants(&self, kind: EventKind) -> bool {
        matches!(kind, EventKind::Connection | EventKind::Disconnect)
    }

    fn emit(&self, event: ServiceEvent) {
        let name = match &event {
            ServiceEvent::Admission(_) => "admission",
            ServiceEvent::Connection(_) => "connection",
            ServiceEvent::Disconnect(..) => "disconnect",
            ServiceEvent::Abandoned(_) => "abandoned",
            _ => return,
        };
        let mut state = self.state.lock().unwrap();
        state.names.push(name);
        state.waiting.push_back(event);
        self.changed.notify_all();
    }
}

/// Nobody waits for ever, JavaScript hears of each beginning and of one end behind it, and nothing is left.
#[test]
fn a_connection_that_ends_while_it_is_let_in_leaves_nothing_behind() {
    crate::sync::in_any_order(|| {
        // For the timers of those who wait; nobody runs it, so no time passes.
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let _context = runtime.enter();
        let javascript = Arc::new(JavaScript::default());
        let service = Arc::new(Service::new(Config::default(), javascript.clone(), runtime.handle()));
        service.set_admits(true);
        let socket = Arc::new(Socket::new(
            service.next_key(),
            "id",
            Arc::new(Unreachable),
            "{}".into(),
            0,
        ));

        let session = {
            let (service, socket) = (service.clone(), socket.clone());
            thread::spawn(move || {
                block_on(async {
                    let patience = Duration::from_secs(45);
                    if service.admit(&socket, patience).await.is_ok() {
                        socket.identify(Identity::new("somebody", None));
                        let _ = service.introduce(&socket, patience).await;
                    }
                });
            })
        };
        let transport = {
            let (service, socket) = (service.clone(), socket.clone());
            thread::spawn(move || {
                service.withdraw(&socket);
                service.unregister(&socket, DisconnectReason::TransportClose);
            })
        };
        let listener = {
            let (service, javascript) = (service.clone(), javascript.clone());
            thread::spawn(move || {
                while let Some(event) = javascript.hear() {
                    match event {
                        ServiceEvent::Admission(socket) => service.decide(&socket, Ok(Admitted::default())),
                        ServiceEvent::Connection(socket) => service.introduced(&socket),
                        _ => {}
                    }
                }
            })
        };
        session.join().unwrap();
        transport.join().unwrap();
        javascript.end();
        listener.join().unwrap();

        let names = javascript.state.lock().unwrap().names.clone();
        let allowed: [&[&str]; 3] = [
            &[],
            &["admission", "abandoned"],
            &["admission", "connection", "disconnect"],
        ];
        assert!(allowed.contains(&names.as_slice()), "{names:?}");
        assert_eq!((service.hub.socket_count(), service.introductions.len()), (0, 0));
        assert!(service.pending("id").is_none() && service.hub.sockets_of("somebody").is_empty());
    });
}
