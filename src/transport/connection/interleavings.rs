//! A connection, under many orders of the steps of those who use it at the same time.

use shuttle::{future::block_on, thread};
use socketioxide::extract::SocketRef;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{
    config::Config,
    link::{Ending, Link},
    metrics::Exceeded,
    sync::in_any_order,
    transport::{carrier::ByteSink, common::Limits, engine::LocalRooms},
};

const ANSWER: &str = "40{}";

/// Nobody runs the tasks that it begins: they look after clients that are slow to go.
fn idle() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn engine() -> Arc<Engine> {
    Engine::new(&Config::default(), async |_: SocketRef<LocalRooms>| {})
}

fn polling(engine: &Arc<Engine>, runtime: &Runtime) -> Arc<Connection> {
    let bytes = 1 << 20;
    let limits = Limits {
        queued_bytes: bytes,
        stall: Duration::from_secs(1),
        congestion: Arc::new(crate::backpressure::Congestion::new(bytes)),
        exceeded: Arc::new(Exceeded::default()),
        sink: Weak::<Nobody>::new(),
    };
    let common = Arc::new(Common::new(limits, runtime.handle().clone()));
    Connection::over_polling(&common, Account::new(&Arc::default()), false, engine)
}

struct Nobody;

impl crate::ports::EventSink for Nobody {
    fn wants(&self, _: crate::ports::EventKind) -> bool {
        false
    }

    fn emit(&self, _: crate::ports::ServiceEvent) {}
}

fn packets() -> Vec<Packet> {
    ["1", "2", "3"].map(|number| Packet::event("said", number)).into()
}

/// Polls as a client does until it has moved, or has been told that it is over. What it got.
fn poll(connection: &Connection) -> Vec<String> {
    let queue = connection.queue().unwrap();
    let mut got = Vec::new();
    loop {
        block_on(queue.filled(|| connection.phase().ends_polls()));
        let taken = queue.take_while(|_| true);
        let mut is_last = false;
        let mut bytes = 0;
        for item in taken {
            bytes += item.len();
            is_last |= matches!(item, Waiting::Farewell);
            got.push(match item {
                Waiting::Packet(packet) => packet.text().to_owned(),
                Waiting::Text(text) => text,
                Waiting::Farewell => FAREWELL.to_owned(),
                Waiting::Close => "close".to_owned(),
            });
        }
        connection.polled(bytes);
        if is_last {
            connection.farewell_passed();
        }
        if is_last || connection.phase().ends_polls() {
            return got;
        }
    }
}

/// The stream of a client, and what was written to it. Its lock is not shuttle's: it is never waited for.
#[derive(Default)]
struct Stream(std::sync::Mutex<Vec<Bytes>>);

impl ByteSink for Stream {
    fn write(&self, bytes: Bytes) {
        self.0.lock().unwrap().push(bytes);
    }

    fn end(&self) {}

    fn destroy(&self) {}
}

/// What was written to a stream, the answer to the probe and the close frame excepted.
fn written(stream: &Stream, packets: &[Packet]) -> Vec<String> {
    let texts: Vec<_> = packets.iter().map(|packet| packet.text().to_owned()).collect();
    let known = texts.into_iter().chain([ANSWER.to_owned(), FAREWELL.to_owned()]);
    let known: Vec<_> = known.map(|text| (text_frame(&text), text)).collect();
    let text_of = |bytes: &Bytes| {
        known
            .iter()
            .find(|(frame, _)| frame == bytes)
            .map(|(_, text)| text.clone())
    };
    stream.0.lock().unwrap().iter().filter_map(text_of).collect()
}

/// The answer to CONNECT, packets and goodbye reach a client that polls, and perhaps moves to WebSocket meanwhile.
fn reaches_client(moves: bool) {
    let engine = engine();
    in_any_order(move || {
        let runtime = idle();
        let connection = polling(&engine, &runtime);
        let packets = packets();
        let library = {
            let connection = connection.clone();
            thread::spawn(move || connection.say_connected(ANSWER.to_owned()))
        };
        let sender = {
            let (connection, packets) = (connection.clone(), packets.clone());
            thread::spawn(move || {
                for packet in &packets {
                    connection.send(packet, true);
                }
                Link::close(&*connection, Ending::Kick);
            })
        };
        let stream = Arc::new(Stream::default());
        let mover = moves.then(|| {
            let (connection, stream) = (connection.clone(), stream.clone());
            thread::spawn(move || {
                assert!(connection.begin_upgrade());
                connection.carry(Carrier::Bridge(stream));
                assert!(connection.probe() && connection.upgrade());
            })
        });
        let mut got = poll(&connection);
        for thread in [library, sender].into_iter().chain(mover) {
            thread.join().unwrap();
        }
        got.extend(written(&stream, &packets));
        let sent = packets.iter().map(|packet| packet.text().to_owned());
        let expected: Vec<_> = [ANSWER.to_owned()]
            .into_iter()
            .chain(sent)
            .chain([FAREWELL.to_owned()])
            .collect();
        assert_eq!(got, expected);
        assert!(connection.outbox.lock().held.is_empty() && connection.phase().is_ending());
        assert_eq!(connection.outbox.lock().queued_bytes, 0);
    });
}

#[test]
fn a_client_that_moves_gets_everything_once_and_in_order() {
    reaches_client(true);
}

#[test]
fn a_client_that_polls_gets_everything_and_no_poll_waits_for_what_is_there() {
    reaches_client(false);
}

/// Whoever waits for the end of a session is told of it.
#[test]
fn an_end_is_not_missed() {
    let engine = engine();
    in_any_order(move || {
        let runtime = idle();
        let connection = polling(&engine, &runtime);
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let connection = connection.clone();
                thread::spawn(move || block_on(connection.over()))
            })
            .collect();
        connection.finish();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}
