//! TLS, Sentinel and Redis Cluster.

use std::path::Path;
use std::process::{Command, Stdio};

use super::server::{RedisServer, free_port, start_cluster, start_sentinel, wait_until};
use super::{CHANNEL, Subject, Told, config, room};
use crate::cluster::bus::Record;
use crate::config::{RedisConfig, RedisMode, RedisTlsConfig};

/// A certificate authority, a certificate of it for the name `redis.test` alone, and their key.
struct Certificates {
    ca: String,
    cert: String,
    key: String,
}

fn openssl(folder: &Path, args: &[&str]) {
    let status = Command::new("openssl")
        .args(args)
        .current_dir(folder)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "openssl {args:?}");
}

/// Made with P-256, which takes no time.
fn certificates(folder: &Path) -> Certificates {
    std::fs::write(folder.join("names"), "subjectAltName=DNS:redis.test").unwrap();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let ca = ["-x509", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.crt"];
    openssl(folder, &[&["req"], &key[..], &ca[..]].concat());
    let request = ["-subj", "/CN=redis", "-keyout", "redis.key", "-out", "redis.csr"];
    openssl(folder, &[&["req"], &key[..], &request[..]].concat());
    let sign = [
        "x509",
        "-req",
        "-in",
        "redis.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
    ];
    openssl(
        folder,
        &[&sign[..], &["-extfile", "names", "-out", "redis.crt"]].concat(),
    );
    let read = |name| std::fs::read_to_string(folder.join(name)).unwrap();
    Certificates {
        ca: read("ca.crt"),
        cert: read("redis.crt"),
        key: read("redis.key"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_trusts_only_whom_it_is_told_to() {
    // Its folder holds the files, and goes with it.
    let plain = RedisServer::start();
    let made = certificates(plain.folder());
    let path = |name: &str| plain.folder().join(name).to_str().unwrap().to_owned();
    let port = free_port();
    let args = [
        ("--port", "0".to_owned()),
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", path("redis.crt")),
        ("--tls-key-file", path("redis.key")),
        ("--tls-ca-cert-file", path("ca.crt")),
        ("--tls-auth-clients", "yes".to_owned()),
    ];
    let server = RedisServer::launch(
        port,
        args.into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect(),
    );
    let right = RedisTlsConfig {
        ca: Some(made.ca.clone()),
        cert: Some(made.cert),
        key: Some(made.key.as_str().into()),
        servername: Some("redis.test".to_owned()),
        insecure: false,
    };
    let with = |tls: RedisTlsConfig| {
        Subject::start(&RedisConfig {
            tls: Some(tls),
            ..config(&server)
        })
    };

    let trusted = with(right.clone());
    trusted.comes_up().await;
    trusted.is_heard().await;
    let untrusted = with(RedisTlsConfig {
        ca: None,
        ..right.clone()
    });
    let text = untrusted.goes_down("ERR_REDIS_UNREACHABLE").await;
    assert!(text.contains("unknown issuer"), "{text}");
    let misnamed = with(RedisTlsConfig {
        servername: None,
        ..right.clone()
    });
    let text = misnamed.goes_down("ERR_REDIS_UNREACHABLE").await;
    assert!(text.contains("not valid for name"), "{text}");
    let insecure = with(RedisTlsConfig {
        ca: None,
        servername: None,
        insecure: true,
        ..right.clone()
    });
    insecure.comes_up().await;
    with(RedisTlsConfig {
        cert: None,
        key: None,
        ..right.clone()
    })
    .goes_down("ERR_REDIS_UNREACHABLE")
    .await;
    let text = with(RedisTlsConfig {
        ca: Some("none".to_owned()),
        ..right
    })
    .goes_down("ERR_REDIS")
    .await;
    assert!(text.contains("redis.tls.ca"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sentinels_lead_to_the_new_master() {
    let mut master = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    wait_until("the replica follows", || {
        replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
    });
    let sentinel = start_sentinel(&master);
    wait_until("the sentinel knows the replica", || {
        sentinel
            .cli(&["--no-auth-warning", "-a", "secret", "SENTINEL", "REPLICAS", "mymaster"])
            .contains(&replica.port.to_string())
    });
    let by_sentinel = |name: &str| RedisConfig {
        mode: RedisMode::Sentinel(name.to_owned()),
        sentinel_password: Some("secret".into()),
        // The first one is not there.
        servers: vec![
            crate::config::RedisAddress {
                host: "127.0.0.1".to_owned(),
                port: free_port(),
            },
            sentinel.address(),
        ],
        ..config(&master)
    };
    let subject = Subject::start(&by_sentinel("mymaster"));
    subject.comes_up().await;
    subject.is_heard().await;
    assert_eq!(master.cli(&["PUBSUB", "NUMSUB", CHANNEL]).lines().last(), Some("1"));
    let unknown = Subject::start(&by_sentinel("other"));
    let text = unknown.goes_down("ERR_REDIS").await;
    assert!(text.contains("other"), "{text}");

    let unknown = RedisConfig {
        sentinel_password: Some("other".into()),
        ..by_sentinel("mymaster")
    };
    Subject::start(&unknown).goes_down("ERR_REDIS_AUTH").await;

    master.kill();
    subject.goes_down("ERR_REDIS_UNREACHABLE").await;
    subject.comes_up().await;
    subject.is_heard().await;
    assert_eq!(replica.cli(&["PUBSUB", "NUMSUB", CHANNEL]).lines().last(), Some("1"));
    subject.store.put_rooms(room("r")).await.unwrap();
    assert_eq!(replica.cli(&["HGET", "socket.io-native:rooms", "r"]), "{}");

    // A master that becomes a replica while the connections stay open: whoever publishes there is not heard.
    replica.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    subject.goes_down("ERR_REDIS_UNREACHABLE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_on_without_the_node_that_was_used() {
    let mut nodes = start_cluster();
    let of = |server: &RedisServer| RedisConfig {
        mode: RedisMode::Cluster,
        ..config(server)
    };
    // Each knows one node only, and learns the others.
    let subjects = [Subject::start(&of(&nodes[0])), Subject::start(&of(&nodes[1]))];
    for subject in &subjects {
        subject.comes_up().await;
    }
    subjects[0].is_heard().await;
    assert!(matches!(subjects[1].next().await, Told::Message(..)));
    assert!(matches!(subjects[1].next().await, Told::Message(..)));
    // Keys that are spread over all nodes.
    for number in 0..20 {
        let room = format!("room{number}");
        let record = Record {
            args: format!("[{number}]").into(),
            time: number,
            attachments: Vec::new(),
        };
        subjects[0].store.append(&room, record.clone(), None).await.unwrap();
        assert_eq!(subjects[1].store.newest(&room, 1).await, Ok(vec![record]));
    }
    for subject in &subjects {
        assert_eq!(subject.bus.subscribers(CHANNEL).await, Ok(2));
    }

    nodes[0].kill();
    subjects[0].goes_down("ERR_REDIS_UNREACHABLE").await;
    subjects[0].comes_up().await;
    subjects[0].is_heard().await;
    assert!(matches!(subjects[1].next().await, Told::Message(..)));
    assert!(matches!(subjects[1].next().await, Told::Message(..)));
    assert_eq!(subjects[0].bus.subscribers(CHANNEL).await, Ok(2));
    for subject in &subjects {
        subject.bus.stop().await;
    }
}
