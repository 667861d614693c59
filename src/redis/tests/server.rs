//! Real Redis servers on free loopback ports, each in a folder of its own, ended with the value that stands for them.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::config::RedisAddress;

/// How long a server may take to start, or anything else that a test waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// A Redis or Valkey; killed on drop.
pub(super) struct RedisServer {
    pub(super) port: u16,
    folder: PathBuf,
    args: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further arguments, as `redis-server` takes them.
    pub(super) fn start_with(args: &[&str]) -> Self {
        let port = free_port();
        let plain = ["--port".to_owned(), port.to_string()];
        Self::launch(
            port,
            plain
                .into_iter()
                .chain(args.iter().map(|&arg| arg.to_owned()))
                .collect(),
        )
    }

    /// With exactly these arguments besides the folder; `port` is where it will listen.
    pub(super) fn launch(port: u16, args: Vec<String>) -> Self {
        let folder = std::env::temp_dir().join(format!("redis-{port}-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let mut server = Self {
            port,
            folder,
            args,
            child: None,
        };
        server.run();
        server
    }

    pub(super) fn address(&self) -> RedisAddress {
        RedisAddress {
            host: "127.0.0.1".to_owned(),
            port: self.port,
        }
    }

    /// Starts it again on the same port, after [`RedisServer::kill`].
    pub(super) fn run(&mut self) {
        let mut command = Command::new(server_program());
        // A sentinel insists on a file of its own as the first argument.
        let (file, options): (Vec<_>, Vec<_>) = self.args.iter().partition(|arg| arg.ends_with(".conf"));
        command
            .args(file)
            .args(["--bind", "127.0.0.1", "--loglevel", "warning"]);
        command
            .arg("--logfile")
            .arg(self.folder.join("log"))
            .arg("--dir")
            .arg(&self.folder);
        command.args(["--save", ""]).args(options);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = self.child.insert(quiet.spawn().unwrap());
        let port = self.port;
        wait_until("Redis listens", || {
            assert_eq!(child.try_wait().unwrap(), None, "Redis ended");
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops its process: connections stay open, and nothing answers.
    pub(super) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(super) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let kill = format!("kill {name} {pid}");
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// What `redis-cli` prints, or `valkey-cli`.
    pub(super) fn cli(&self, args: &[&str]) -> String {
        let server = server_program();
        let name = server.file_name().unwrap().to_str().unwrap();
        let mut command = Command::new(server.with_file_name(name.replace("server", "cli")));
        command
            .args(["-p", &self.port.to_string()])
            .args(args)
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success(), "redis-cli {args:?}: {text}");
        text
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _killed = child.kill();
            let _reaped = child.wait();
        }
        let _removed = std::fs::remove_dir_all(&self.folder);
    }
}

/// What `REDIS_SERVER` names, as `npm test` does, else whichever of the two programs is on the path.
fn server_program() -> PathBuf {
    let on_path = || {
        let path = std::env::var_os("PATH").unwrap();
        let folders: Vec<_> = std::env::split_paths(&path).collect();
        ["redis-server", "valkey-server"]
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
            .find(|file| file.is_file())
    };
    let named = std::env::var_os("REDIS_SERVER").map(PathBuf::from);
    named
        .or_else(on_path)
        .expect("redis-server or valkey-server on the path")
}

/// A Redis Cluster of three masters without replicas, which goes on when one is lost.
pub(super) fn start_cluster() -> Vec<RedisServer> {
    let nodes: Vec<_> = (0..3)
        .map(|_| {
            let bus = free_port().to_string();
            RedisServer::start_with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "1000",
                "--cluster-require-full-coverage",
                "no",
            ])
        })
        .collect();
    // `redis-cli --cluster create` waits whole seconds between its steps; this is what it does.
    for (index, node) in nodes.iter().enumerate() {
        let bounds = [0, 5_461, 10_923, 16_384];
        let (first, last) = (bounds[index].to_string(), (bounds[index + 1] - 1).to_string());
        node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
    }
    for node in nodes.iter().skip(1) {
        let bus = node
            .cli(&["CONFIG", "GET", "cluster-port"])
            .lines()
            .last()
            .unwrap()
            .to_owned();
        nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), &bus]);
    }
    for node in &nodes {
        wait_until("the cluster is made", || {
            node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
                && node
                    .cli(&["CLUSTER", "SLOTS"])
                    .lines()
                    .filter(|line| line.contains("127.0.0.1"))
                    .count()
                    >= 3
        });
    }
    nodes
}

/// A sentinel that watches `master` under the name `mymaster` and decides alone. Its own password is `secret`.
pub(super) fn start_sentinel(master: &RedisServer) -> RedisServer {
    let port = free_port();
    let file = master.folder().join("sentinel.conf");
    let text = format!(
        "port {port}\nrequirepass secret\nsentinel monitor mymaster 127.0.0.1 {} 1\nsentinel down-after-milliseconds mymaster 500\n\
         sentinel failover-timeout mymaster 3000\n",
        master.port
    );
    std::fs::write(&file, text).unwrap();
    RedisServer::launch(port, vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()])
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Asks again and again until it holds.
pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
