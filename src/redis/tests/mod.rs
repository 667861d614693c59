//! The connections against real servers, which are killed, frozen and moved under them.

mod deployments;
pub(crate) mod server;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use self::server::{PATIENCE, RedisServer, wait_until};
use super::{ConnectionError, Connections, Observer};
use crate::config::RedisConfig;

const CHANNEL: &str = "k-request#/#";
const PATTERN: &str = "k#/#*";

#[derive(Debug, PartialEq)]
enum Told {
    Message(String, Bytes),
    Up,
    Down(&'static str, String),
}

struct Recorder(UnboundedSender<Told>);

impl Observer for Recorder {
    fn message(&self, channel: &str, payload: Bytes) {
        let _sent = self.0.send(Told::Message(channel.to_owned(), payload));
    }

    fn up(&self) {
        let _sent = self.0.send(Told::Up);
    }

    fn down(&self, error: &ConnectionError) {
        let _sent = self.0.send(Told::Down(error.code(), error.to_string()));
    }
}

/// Connections, and what they told so far.
struct Subject {
    connections: Arc<Connections>,
    told: Mutex<UnboundedReceiver<Told>>,
}

impl Subject {
    fn start(config: &RedisConfig) -> Self {
        let (sender, told) = unbounded_channel();
        let (patterns, channels) = (vec![PATTERN.to_owned()], vec![CHANNEL.to_owned()]);
        let recorder = Arc::new(Recorder(sender));
        let connections = Connections::new(config, patterns, channels, recorder);
        connections.connect(&Handle::current());
        Self {
            connections,
            told: Mutex::new(told),
        }
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
        assert!(self.connections.is_up());
    }

    async fn goes_down(&self, code: &str) -> String {
        match self.next().await {
            Told::Down(told, text) if told == code => text,
            other => panic!("{other:?} instead of {code}"),
        }
    }

    /// Publishes on the pattern and on the channel until both arrive, which proves both subscriptions.
    async fn is_heard(&self) {
        let word = Bytes::from(uuid::Uuid::new_v4().to_string());
        let both = ["k#/#room#", CHANNEL];
        let batch = both
            .map(|channel| (Bytes::from_static(channel.as_bytes()), word.clone()))
            .to_vec();
        self.connections.publish(batch).await.unwrap();
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

fn message(number: u32) -> (Bytes, Bytes) {
    (Bytes::from_static(b"k#/#"), Bytes::from(number.to_string()))
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
        subject.connections.publish(batch).await.unwrap();
    }
    for number in 0..10_000 {
        let (_, payload) = message(number);
        assert_eq!(subject.next().await, Told::Message("k#/#".to_owned(), payload));
    }
    assert_eq!(subject.connections.subscribers(CHANNEL).await, Ok(1));
    assert_eq!(subject.connections.subscribers("k-other").await, Ok(0));
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
async fn a_channel_and_a_payload_may_be_any_bytes() {
    let server = RedisServer::start();
    let subject = Subject::start(&config(&server));
    subject.comes_up().await;
    let binary = Bytes::from_static(b"\xff\x00\r\n\xfe");
    let batch = vec![
        (binary.clone(), Bytes::new()),
        (Bytes::from_static(b"k#/#"), binary.clone()),
    ];
    subject.connections.publish(batch).await.unwrap();
    assert_eq!(subject.next().await, Told::Message("k#/#".to_owned(), binary));
    let large = Bytes::from(vec![b'x'; 5_000_000]);
    subject
        .connections
        .publish(vec![(Bytes::from_static(b"k#/#"), large.clone())])
        .await
        .unwrap();
    assert_eq!(subject.next().await, Told::Message("k#/#".to_owned(), large));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_is_found_and_subscribed_again() {
    let mut server = RedisServer::start();
    let subject = Subject::start(&config(&server));
    subject.comes_up().await;
    subject.is_heard().await;
    server.kill();
    subject.goes_down("ERR_REDIS_UNREACHABLE").await;
    assert!(!subject.connections.is_up());
    let refused = subject.connections.publish(vec![message(1)]).await.unwrap_err();
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
    subject.connections.until_up().await;
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
    subject.connections.replace_subscriber();
    subject.goes_down("ERR_REDIS_UNREACHABLE").await;
    subject.comes_up().await;
    subject.is_heard().await;
    assert_eq!(subject.connections.subscribers(CHANNEL).await, Ok(1));
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
        while subject.connections.publish(vec![message(number)]).await.is_err() {
            subject.connections.until_up().await;
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
    let error = subject.connections.publish(vec![message(1)]).await.unwrap_err();
    assert_eq!(error.code(), "ERR_REDIS_UNREACHABLE");
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    subject.goes_down("ERR_REDIS_UNREACHABLE").await;
    // Longer than an attempt to connect takes, too.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    subject.told_no_more().await;
    server.thaw();
    // The message may have been waiting in front of the server, which nobody can know.
    while subject.next().await != Told::Up {}
    subject.is_heard().await;
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
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    subject.told_no_more().await;
    let stats = server.cli(&["--no-auth-warning", "-a", "other-word", "INFO", "stats"]);
    let received = stats
        .lines()
        .find_map(|line| line.trim().strip_prefix("total_connections_received:"))
        .unwrap();
    // Two connections, each after 50, 100, 200, 400 and 800 ms less a half at most.
    assert!(received.parse::<u32>().unwrap() <= 20, "{received}");
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
    let error = app.connections.hash_get("other", "field").await.unwrap_err();
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
    first
        .connections
        .hash_set("h", vec![("f".to_owned(), b"v".to_vec())])
        .await
        .unwrap();
    assert_eq!(server.cli(&["-n", "3", "HGET", "h", "f"]), "v");
    assert_eq!(second.connections.hash_get("h", "f").await, Ok(None));
    first.connections.publish(vec![message(1)]).await.unwrap();
    assert!(matches!(second.next().await, Told::Message(..)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_and_streams_keep_what_they_are_given() {
    let server = RedisServer::start();
    let subject = Subject::start(&config(&server));
    subject.comes_up().await;
    let redis = &subject.connections;
    let fields: Vec<_> = (0..3_000)
        .map(|n| (format!("f{n}"), vec![0xff, (n % 256) as u8]))
        .collect();
    redis.hash_set("h", fields.clone()).await.unwrap();
    redis.hash_set("h", Vec::new()).await.unwrap();
    let mut all = redis.hash_all("h").await.unwrap();
    all.sort();
    let mut expected: Vec<_> = fields
        .into_iter()
        .map(|(field, value)| (field, Bytes::from(value)))
        .collect();
    expected.sort();
    assert_eq!(all, expected);
    assert_eq!(redis.hash_all("absent").await, Ok(Vec::new()));
    assert_eq!(redis.hash_set_new("h", "f1", b"x".to_vec()).await, Ok(false));
    assert_eq!(redis.hash_set_new("h", "new", b"x".to_vec()).await, Ok(true));
    redis
        .hash_delete("h", vec!["new".to_owned(), "f0".to_owned()])
        .await
        .unwrap();
    assert_eq!(redis.hash_get("h", "new").await, Ok(None));
    assert_eq!(
        redis.hash_get("h", "f1").await,
        Ok(Some(Bytes::from_static(b"\xff\x01")))
    );

    assert_eq!(redis.stream_newest("s", 10, None).await, Ok(Vec::new()));
    let mut ids = Vec::new();
    for n in 0..5_u8 {
        ids.push(
            redis
                .stream_append("s", vec![("m", Bytes::from(vec![n])), ("n", Bytes::new())], None)
                .await
                .unwrap(),
        );
    }
    let newest = redis.stream_newest("s", 2, None).await.unwrap();
    assert_eq!(newest.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&ids[4], &ids[3]]);
    assert_eq!(newest[0].1[0], ("m".to_owned(), Bytes::from_static(&[4])));
    let older = redis.stream_newest("s", 10, Some(ids[3].clone())).await.unwrap();
    assert_eq!(
        older.iter().map(|(id, _)| id).collect::<Vec<_>>(),
        [&ids[2], &ids[1], &ids[0]]
    );
    for _ in 0..500 {
        redis
            .stream_append("s", vec![("m", Bytes::new())], Some(10))
            .await
            .unwrap();
    }
    assert!(server.cli(&["XLEN", "s"]).parse::<usize>().unwrap() < 200);

    assert_eq!(redis.hash_get("s", "f").await.unwrap_err().code(), "ERR_REDIS_KEY");
    redis.delete("s").await.unwrap();
    assert_eq!(server.cli(&["EXISTS", "s"]), "0");
    subject.told_no_more().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_remains_after_the_end() {
    let server = RedisServer::start();
    let subject = Subject::start(&config(&server));
    subject.comes_up().await;
    assert_eq!(server.cli(&["CLIENT", "LIST"]).lines().count(), 3);
    subject.connections.close().await;
    subject.connections.close().await;
    wait_until("only redis-cli is connected", || {
        server.cli(&["CLIENT", "LIST"]).lines().count() == 1
    });
    assert!(!subject.connections.is_up());
    assert_eq!(
        subject.connections.publish(vec![message(1)]).await,
        Err(ConnectionError::absent())
    );
    subject.told_no_more().await;

    // With a server that hangs, and with none at all.
    let mut other = RedisServer::start();
    let hanging = Subject::start(&config(&other));
    hanging.comes_up().await;
    other.freeze();
    let since = Instant::now();
    hanging.connections.close().await;
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    other.kill();
    let absent = Subject::start(&config(&other));
    absent.goes_down("ERR_REDIS_UNREACHABLE").await;
    absent.connections.close().await;
    absent.told_no_more().await;
}
