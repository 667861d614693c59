//! Where to connect: the server, the master that the sentinels know, or a node of the cluster.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;

use super::client::{Blueprint, Client, Destination};
use super::error::ConnectionError;
use crate::config::{RedisAddress, RedisConfig, RedisMode};

/// The addresses that may be tried, and which one is next.
pub(super) struct Places {
    mode: RedisMode,
    servers: Vec<RedisAddress>,
    /// Nodes that the cluster itself told; empty elsewhere.
    learnt: Mutex<Vec<RedisAddress>>,
}

impl Places {
    pub(super) fn new(config: &RedisConfig) -> Self {
        Self {
            mode: config.mode.clone(),
            servers: config.servers.clone(),
            learnt: Mutex::default(),
        }
    }

    pub(super) fn mode(&self) -> &RedisMode {
        &self.mode
    }

    /// The address for the attempt of this number. A node that cannot be reached is followed by another.
    pub(super) async fn choose(&self, blueprint: &Blueprint, attempt: usize) -> Result<RedisAddress, ConnectionError> {
        if let RedisMode::Sentinel(name) = &self.mode {
            return self.master(blueprint, name).await;
        }
        let known = self.known();
        let chosen = known.get(attempt.checked_rem(known.len()).unwrap_or_default());
        chosen
            .cloned()
            .ok_or_else(|| ConnectionError::Options("redis has no address".to_owned()))
    }

    /// All addresses: those of the options first.
    pub(super) fn known(&self) -> Vec<RedisAddress> {
        let mut known = self.servers.clone();
        for address in self.learnt.lock().iter() {
            if !known.contains(address) {
                known.push(address.clone());
            }
        }
        known
    }

    /// The sentinels, for an error.
    pub(super) fn sentinels(&self) -> String {
        let shown: Vec<_> = self.servers.iter().map(shown).collect();
        format!("sentinel {}", shown.join(", "))
    }

    /// Asks a node for the others, and remembers them. Masters and replicas that the cluster does not call dead.
    pub(super) async fn learn(
        &self,
        blueprint: &Blueprint,
        client: &Client,
        own: &RedisAddress,
    ) -> Result<Vec<RedisAddress>, ConnectionError> {
        let answer = client.call("CLUSTER", vec!["NODES".into()]).await?;
        let text = answer
            .into_string()
            .ok_or_else(|| ConnectionError::unexpected("CLUSTER NODES"))?;
        let nodes: Vec<_> = text
            .lines()
            .filter_map(|line| node(line, own, blueprint.uses_tls()))
            .collect();
        self.learnt.lock().clone_from(&nodes);
        Ok(nodes)
    }

    /// All sentinels are asked at once, because one that hangs must not delay a failover.
    async fn master(&self, blueprint: &Blueprint, name: &str) -> Result<RedisAddress, ConnectionError> {
        let asked = self
            .servers
            .iter()
            .map(|sentinel| ask_sentinel(blueprint, sentinel, name));
        let mut answers: FuturesUnordered<_> = asked.collect();
        let mut worst = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(master) => return Ok(master),
                Err(error) => {
                    // What a person has to put right says more than that another one is down.
                    if worst.is_none() || !matches!(error, ConnectionError::Unreachable(_)) {
                        worst = Some(error);
                    }
                }
            }
        }
        Err(worst.unwrap_or_else(|| ConnectionError::Options("redis has no sentinel".to_owned())))
    }
}

async fn ask_sentinel(
    blueprint: &Blueprint,
    sentinel: &RedisAddress,
    name: &str,
) -> Result<RedisAddress, ConnectionError> {
    let place = format!("sentinel {}", shown(sentinel));
    let ask = async {
        let (client, mut lifetime) = Client::open(blueprint, Destination::Sentinel(sentinel)).await?;
        let answer = client
            .call("SENTINEL", vec!["GET-MASTER-ADDR-BY-NAME".into(), name.into()])
            .await;
        client.close(&mut lifetime).await;
        let answer = answer?;
        if answer.is_null() {
            return Err(ConnectionError::Protocol(format!("no master is known as {name}")));
        }
        let (host, port) = answer
            .convert::<(String, u16)>()
            .map_err(|_| ConnectionError::unexpected("SENTINEL"))?;
        Ok(RedisAddress { host, port })
    };
    ask.await.map_err(|error| error.at(&place))
}

/// Fails unless the server is a master: the sentinels may not have noticed yet, or it has been one.
pub(super) async fn check_master(client: &Client) -> Result<(), ConnectionError> {
    match client.call("ROLE", Vec::new()).await {
        Ok(answer) => match answer.into_array().first().and_then(|role| role.as_str()) {
            Some(role) if role == "master" => Ok(()),
            _ => Err(ConnectionError::Unreachable("it is a replica".to_owned())),
        },
        // Not every user may ask; the sentinels' word must do then.
        Err(ConnectionError::Refused(_)) => client.ping().await,
        Err(error) => Err(error),
    }
}

pub(super) fn shown(address: &RedisAddress) -> String {
    format!("{}:{}", address.host, address.port)
}

/// Reads `<id> <host>:<port>@<bus port>[,<host name>] <flags> …`. Certificates are made for names rather than
/// addresses, so TLS takes the name if there is one.
fn node(line: &str, own: &RedisAddress, tls: bool) -> Option<RedisAddress> {
    let mut fields = line.split(' ').skip(1);
    let (place, flags) = (fields.next()?, fields.next()?);
    if flags
        .split(',')
        .any(|flag| matches!(flag, "fail" | "handshake" | "noaddr"))
    {
        return None;
    }
    let (place, name) = place.split_once(',').unwrap_or((place, ""));
    let name = name.split(',').next().unwrap_or_default();
    let (host, port) = place
        .split_once('@')
        .map_or(place, |(place, _)| place)
        .rsplit_once(':')?;
    let host = match (tls && !name.is_empty(), host.is_empty()) {
        (true, _) => name,
        // A node that was never told its address leaves it out for itself.
        (false, true) => own.host.as_str(),
        (false, false) => host,
    };
    Some(RedisAddress {
        host: host.to_owned(),
        port: port.parse().ok().filter(|port| *port != 0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, tls: bool) -> Option<(String, u16)> {
        let own = RedisAddress {
            host: "own".to_owned(),
            port: 1,
        };
        node(line, &own, tls).map(|address| (address.host, address.port))
    }

    #[test]
    fn nodes_are_read_and_dead_ones_left_out() {
        let line = "07c37d 127.0.0.1:30004@31004,node-4 slave e7d1ee 0 1426238317239 4 connected";
        assert_eq!(read(line, false), Some(("127.0.0.1".to_owned(), 30004)));
        assert_eq!(read(line, true), Some(("node-4".to_owned(), 30004)));
        assert_eq!(
            read("a ::1:7000@17000 master - 0 1 1 connected", false),
            Some(("::1".to_owned(), 7000))
        );
        assert_eq!(
            read("a :7000@17000 myself,master - 0 0 1 connected", false),
            Some(("own".to_owned(), 7000))
        );
        assert_eq!(
            read("a 127.0.0.1:7000@17000 master,fail - 0 0 1 disconnected", false),
            None
        );
        assert_eq!(read("a :0@0 master,noaddr - 0 0 1 disconnected", false), None);
        assert_eq!(read("", false), None);
    }
}
