//! The bus and the store against real servers, which are killed, frozen and moved under them.

mod contract;
mod deployments;
mod server;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use self::server::{PATIENCE, RedisServer, wait_until};
use crate::cluster::bus::recorder::{Recorder, Told};
use crate::cluster::bus::{Bus, Publication, Record, Store, Subscriptions};
use crate::config::{RedisAddress, RedisConfig};

const CHANNEL: &str = "k-request#/#";
const PREFIX: &str = "k#/#";

/// A bus and its store, and what it told so far.
struct Subject {
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    told: Mutex<UnboundedReceiver<Told>>,
}

impl Subject {
    fn start(config: &RedisConfig) -> Self {
        let (sender, told) = unbounded_channel();
        let (bus, store) = super::open(config);
        let subscriptions = Subscriptions {
            prefixes: vec![PREFIX.to_owned()],
            names: vec![CHANNEL.to_owned()],
        };
        bus.start(subscriptions, Arc::new(Recorder(sender)), &Handle::current());
        let told = Mutex::new(told);
        Self { bus, store, told }
    }

    async fn next(&self) -> Told {
        let mut told = self.told.lock().await;
        tokio::time::timeout(PATIENCE, told.recv())
            .await
            .expect("something is told")
            .expect("the observer lives")
    }

    async fn comes_up(&self) {
        assert_eq!(self.next().await, Told::Up);
        assert!(self.bus.is_up());
    }

    async fn goes_down(&self, code: &str) -> String {
        match self.next().await {
            Told::Down(error) if error.code() == code => error.to_string(),
            other => panic!("{other:?} instead of {code}"),
        }
    }

    /// Publishes on the pattern and on the channel until both arrive, which proves both subscriptions.
    async fn is_heard(&self) {
        let word = Bytes::from(uuid::Uuid::new_v4().to_string());
        let both = ["k#/#room#", CHANNEL];
        let batch = both.map(|channel| publication(channel.as_bytes(), &word)).to_vec();
        self.bus.publish(batch).await.unwrap();
        for channel in both {
            assert_eq!(self.next().await, Told::Message(channel.to_owned(), word.clone()));
        }
    }

    /// Nothing more was told than what the test has taken.
    async fn told_no_more(&self) {
        assert!(self.told.lock().await.try_recv().is_err());
    }
}

fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig {
        servers: vec![server.address()],
        heartbeat_interval: Duration::from_millis(100),
        response_timeout: Duration::from_millis(1_000),
        ..RedisConfig::default()
    }
}

fn publication(channel: &[u8], payload: &Bytes) -> Publication {
    Publication {
        channel: Bytes::copy_from_slice(channel),
        payload: payload.clone(),
    }
}

fn message(number: u32) -> Publication {
    publication(b"k#/#", &Bytes::from(number.to_string()))
}

fn room(id: &str) -> Vec<(String, Vec<u8>)> {
    vec![(id.to_owned(), b"{}".to_vec())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_keep_their_order() {
    let server = RedisServer::start();
    let subject = Subject::start(&config(&server));
    subject.comes_up().await;
    let batches: Vec<Vec<_>> = (0..10)
        .map(|part| (part * 1_000..(part + 1) * 1_000).map(message).collect())
        .collect();
    for batch in batches {
        subject.bus.publish(batch).await.unwrap();
    }
    for number in 0..10_000 {
        let Publication { payload, .. } = message(number);
        assert_eq!(subject.next().await, Told::Message("k#/#".to_owned(), payload));
    }
    assert_eq!(subject.bus.subscribers(CHANNEL).await, Ok(1));
    assert_eq!(subject.bus.subscribers("k-other").await, Ok(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_others_is_heard_in_full() {
    let server = RedisServer::start();
    let subject = Subject::start(&config(&server));
    subject.comes_up().await;
    let port = server.port.to_string();
    let flood = [
        "-p", &port, "-n", "200000", "-P", "500", "-c", "4", "-q", "PUBLISH", "k#/#", "payload",
    ];
    let status = Command::new("redis-benchmark")
        .args(flood)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    for _ in 0..200_000 {
        assert!(matches!(subject.next().await, Told::Message(..)));
    }
    subject.told_no_more().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_is_found_and_subscribed_again() {
    let mut server = RedisServer::start();
    let subject = Subject::start(&config(&server));
    subject.comes_up().await;
    subject.is_heard().await;
    server.kill();
    subject.goes_down("ERR_REDIS_UNREACHABLE").await;
    assert!(!subject.bus.is_up());
    let refused = subject.bus.publish(vec![message(1)]).await.unwrap_err();
    assert_eq!(refused.code(), "ERR_REDIS_UNREACHABLE");
    server.run();
    subject.comes_up().await;
    subject.is_heard().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starting_without_a_server_waits_for_it() {
    let mut server = RedisServer::start();
    server.kill();
    let subject = Subject::start(&config(&server));
    let text = subject.goes_down("ERR_REDIS_UNREACHABLE").await;
    assert!(text.ends_with("Connection refused"), "{text}");
    server.run();
    subject.bus.until_up().await;
    subject.comes_up().await;
    subject.is_heard().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_is_closed_or_given_up_is_replaced() {
    let server = RedisServer::start();
    let subject = Subject::start(&config(&server));
    subject.comes_up().await;
    for _ in 0..3 {
        assert_eq!(server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]), "1");
        subject.goes_down("ERR_REDIS_UNREACHABLE").await;
        subject.comes_up().await;
        subject.is_heard().await;
    }
    subject.bus.resubscribe();
    subject.goes_down("ERR_REDIS_UNREACHABLE").await;
    subject.comes_up().await;
    subject.is_heard().await;
    assert_eq!(subject.bus.subscribers(CHANNEL).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_is_closed_is_replaced_and_nothing_is_sent_twice() {
    let server = RedisServer::start();
    let subject = Subject::start(&config(&server));
    subject.comes_up().await;
    let mut taken = 0;
    for number in 0..200 {
        if number % 50 == 25 {
            server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        }
        while subject.bus.publish(vec![message(number)]).await.is_err() {
            subject.bus.until_up().await;
        }
        taken += 1;
    }
    assert_eq!(taken, 200);
    // The last one arrives once all others have.
    let mut heard = Vec::new();
    while heard.last() != Some(&199) {
        if let Told::Message(_, payload) = subject.next().await {
            heard.push(String::from_utf8(payload.to_vec()).unwrap().parse::<u32>().unwrap());
        }
    }
    assert!(heard.is_sorted_by(|before, after| before < after), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_noticed_and_found_again() {
    let server = RedisServer::start();
    let config = RedisConfig {
        response_timeout: Duration::from_millis(400),
        ..config(&server)
    };
    let subject = Subject::start(&config);
    subject.comes_up().await;
    server.freeze();
    let since = Instant::now();
    let error = subject.bus.publish(vec![message(1)]).await.unwrap_err();
    assert_eq!(error.code(), "ERR_REDIS_UNREACHABLE");
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    subject.goes_down("ERR_REDIS_UNREACHABLE").await;
    server.thaw();
    loop {
        match subject.next().await {
            Told::Up => break,
            // The message may have been waiting in front of the server, which nobody can know.
            Told::Message(..) => {}
            Told::Down(..) => panic!("told twice in one outage"),
        }
    }
    subject.is_heard().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_connections_and_never_answers_is_told_once() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let subject = Subject::start(&RedisConfig {
        servers: vec![RedisAddress {
            host: "127.0.0.1".to_owned(),
            port: server.local_addr().unwrap().port(),
        }],
        heartbeat_interval: Duration::from_millis(100),
        response_timeout: Duration::from_millis(50),
        ..RedisConfig::default()
    });
    // Several attempts of publisher and subscriber.
    let mut attempts = Vec::new();
    while attempts.len() < 10 {
        let attempt = tokio::time::timeout(PATIENCE, server.accept()).await;
        attempts.push(attempt.expect("another attempt").unwrap());
    }
    subject.goes_down("ERR_REDIS_UNREACHABLE").await;
    subject.told_no_more().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_once_and_tried_slowly_until_it_is_right() {
    let server = RedisServer::start_with(&["--requirepass", "other-word"]);
    let subject = Subject::start(&RedisConfig {
        password: Some("my-word".into()),
        ..config(&server)
    });
    let text = subject.goes_down("ERR_REDIS_AUTH").await;
    assert!(!text.contains("my-word"), "{text}");
    let denied = || {
        let log = server.cli(&["--no-auth-warning", "-a", "other-word", "ACL", "LOG"]);
        let lines: Vec<_> = log.lines().collect();
        let counts = lines.windows(2).filter(|pair| pair[0] == "count");
        counts.map(|pair| pair[1].parse::<u32>().unwrap()).sum::<u32>()
    };
    // Publisher and subscriber, each after 50, 100, 200, 400 and 800 ms less a half at most. With the pauses of a server
    // that is merely away, which are no longer than a beat, this takes a third of the time.
    let since = Instant::now();
    let before = denied();
    wait_until("ten more attempts are denied", || denied() >= before + 10);
    assert!(since.elapsed() >= Duration::from_millis(600), "{:?}", since.elapsed());
    subject.told_no_more().await;
    server.cli(&[
        "--no-auth-warning",
        "-a",
        "other-word",
        "CONFIG",
        "SET",
        "requirepass",
        "my-word",
    ]);
    subject.comes_up().await;
    subject.is_heard().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_password_is_told_as_such() {
    let server = RedisServer::start_with(&["--requirepass", "word"]);
    let subject = Subject::start(&config(&server));
    subject.goes_down("ERR_REDIS_AUTH").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_of_a_user_are_respected_and_told() {
    let server = RedisServer::start();
    server.cli(&["ACL", "SETUSER", "app", "on", ">word", "~k*", "&k#/#*", "&k-*", "+@all"]);
    server.cli(&["ACL", "SETUSER", "deaf", "on", ">word", "~*", "&other*", "+@all"]);
    // A pattern is allowed only if the user's rights name exactly it.
    let as_user = |name: &str| RedisConfig {
        username: Some(name.to_owned()),
        password: Some("word".into()),
        ..config(&server)
    };
    let app = Subject::start(&as_user("app"));
    app.comes_up().await;
    app.is_heard().await;
    let error = app.store.rooms().await.unwrap_err();
    assert_eq!(error.code(), "ERR_REDIS_AUTH");
    app.told_no_more().await;

    let deaf = Subject::start(&as_user("deaf"));
    let text = deaf.goes_down("ERR_REDIS_AUTH").await;
    assert!(text.contains("NOPERM"), "{text}");
    server.cli(&["ACL", "SETUSER", "deaf", "&k#/#*", "&k-*"]);
    deaf.comes_up().await;
    deaf.is_heard().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_holds_the_keys_and_channels_have_none() {
    let server = RedisServer::start();
    let first = Subject::start(&RedisConfig {
        db: 3,
        ..config(&server)
    });
    let second = Subject::start(&RedisConfig {
        db: 4,
        ..config(&server)
    });
    first.comes_up().await;
    second.comes_up().await;
    first.store.put_rooms(room("r")).await.unwrap();
    assert_eq!(server.cli(&["-n", "3", "HGET", "socket.io-native:rooms", "r"]), "{}");
    assert_eq!(second.store.rooms().await, Ok(Vec::new()));
    first.bus.publish(vec![message(1)]).await.unwrap();
    assert!(matches!(second.next().await, Told::Message(..)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_and_messages_have_their_form_in_redis() {
    let server = RedisServer::start();
    let subject = Subject::start(&RedisConfig {
        key_prefix: "k".to_owned(),
        ..config(&server)
    });
    subject.comes_up().await;
    let (rooms, messages) = ("k-native:rooms", "k-native:history:room");
    subject.store.put_rooms(room("room")).await.unwrap();
    assert_eq!(
        server.cli(&["HGETALL", rooms]).lines().collect::<Vec<_>>(),
        ["room", "{}"]
    );
    let record = Record {
        args: Bytes::from_static(b"[\"message\"]"),
        time: 7,
        attachments: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
    };
    subject.store.append("room", record.clone(), None).await.unwrap();
    let entry = server.cli(&["XRANGE", messages, "-", "+"]);
    let fields: Vec<_> = entry.lines().skip(1).collect();
    assert_eq!(
        fields,
        [
            "packet",
            "[\"message\"]",
            "time",
            "7",
            "attachment",
            "one",
            "attachment",
            "two"
        ]
    );
    // What others write there is passed over, unless it makes a message.
    server.cli(&["XADD", messages, "*", "other", "1"]);
    server.cli(&["XADD", messages, "*", "packet", "[1]", "time", "never"]);
    assert_eq!(subject.store.newest("room", 10).await, Ok(vec![record]));

    subject.store.forget("room").await.unwrap();
    assert_eq!(server.cli(&["EXISTS", messages]), "0");
    server.cli(&["SET", messages, "text"]);
    let error = subject.store.newest("room", 1).await.unwrap_err();
    assert_eq!(error.code(), "ERR_REDIS_KEY");
    assert!(error.to_string().contains(messages), "{error}");
    subject.told_no_more().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_remains_after_the_end() {
    let server = RedisServer::start();
    let subject = Subject::start(&config(&server));
    subject.comes_up().await;
    assert_eq!(server.cli(&["CLIENT", "LIST"]).lines().count(), 3);
    subject.bus.stop().await;
    subject.bus.stop().await;
    wait_until("only redis-cli is connected", || {
        server.cli(&["CLIENT", "LIST"]).lines().count() == 1
    });
    assert!(!subject.bus.is_up());
    let refused = subject.bus.publish(vec![message(1)]).await;
    assert!(refused.is_err_and(|error| error.is_unreachable()));
    subject.told_no_more().await;

    // With a server that hangs, and with none at all.
    let mut other = RedisServer::start();
    let hanging = Subject::start(&config(&other));
    hanging.comes_up().await;
    other.freeze();
    let since = Instant::now();
    hanging.bus.stop().await;
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    other.kill();
    let absent = Subject::start(&config(&other));
    absent.goes_down("ERR_REDIS_UNREACHABLE").await;
    absent.bus.stop().await;
    absent.told_no_more().await;
}
