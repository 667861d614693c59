//! Whatever happens and whatever is lost: in the end, what instances know of each other is what is.

use std::collections::VecDeque;

use super::*;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % limit
    }
}

/// Instances with sockets and rooms, and to each of them a way on which messages are lost, doubled and late.
struct World {
    random: Random,
    nodes: Vec<Node>,
    sockets: Vec<(usize, Arc<Socket>)>,
    rooms: Vec<Arc<Room>>,
    deleted: Vec<Arc<Room>>,
    under_way: Vec<VecDeque<Post>>,
    count: usize,
}

impl World {
    async fn new(seed: u64) -> Self {
        let nodes = Vec::from(acquainted(["aaaaaa", "bbbbbb", "cccccc"]).await);
        Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            under_way: vec![VecDeque::new(); nodes.len()],
            nodes,
            sockets: Vec::new(),
            rooms: Vec::new(),
            deleted: Vec::new(),
            count: 0,
        }
    }

    async fn act(&mut self) {
        let node = self.random.below(self.nodes.len());
        self.count += 1;
        match self.random.below(12) {
            0 | 1 => {
                let (socket, _) = self.nodes[node].connect(&format!("socket-{}", self.count));
                self.sockets.push((node, socket));
            }
            2 if !self.sockets.is_empty() => {
                let index = self.random.below(self.sockets.len());
                let (node, socket) = self.sockets.swap_remove(index);
                self.nodes[node].service().unregister(&socket, "gone".into());
            }
            3 => self
                .rooms
                .push(self.nodes[node].service().create_room("room", "default")),
            4 if self.random.below(3) == 0 && !self.rooms.is_empty() => {
                let index = self.random.below(self.rooms.len());
                // An instance that has not heard of the room deletes nothing.
                let room_id = self.rooms[index].info.id.clone();
                if self.nodes[node].service().delete_room(&room_id).is_some() {
                    self.deleted.push(self.rooms.swap_remove(index));
                }
            }
            5..=8 if !self.sockets.is_empty() && !self.rooms.is_empty() => {
                let (node, socket) = &self.sockets[self.random.below(self.sockets.len())];
                let room = &self.rooms[self.random.below(self.rooms.len())];
                let service = self.nodes[*node].service();
                match self.random.below(3) {
                    0 => service.leave_room(socket.id(), &room.info.id),
                    // One that this instance has not heard of, it cannot join.
                    _ => drop(service.join_room(socket.id(), &room.info.id)),
                }
            }
            9 => self.nodes[node].cluster.beat(),
            _ => self.travel().await,
        }
    }

    /// What was said goes its ways; some of it is lost or doubled, and some of what is under way arrives.
    async fn travel(&mut self) {
        for node in 0..self.nodes.len() {
            for post in self.nodes[node].said().await {
                for way in &mut self.under_way {
                    match self.random.below(20) {
                        0 => {}
                        1 => way.extend([post.clone(), post.clone()]),
                        _ => way.push_back(post.clone()),
                    }
                }
            }
        }
        for (node, way) in self.nodes.iter().zip(&mut self.under_way) {
            let count = self.random.below(way.len() + 1);
            let posts: Vec<Post> = way.drain(..count).collect();
            node.hears(&posts);
        }
    }

    /// Nothing is lost any more, and time passes.
    async fn calm_down(&mut self) {
        for (node, way) in self.nodes.iter().zip(&mut self.under_way) {
            node.hears(&way.drain(..).collect::<Vec<_>>());
        }
        let nodes: Vec<&Node> = self.nodes.iter().collect();
        for _ in 0..8 {
            beat(&nodes).await;
            nodes.iter().for_each(|node| self.consult_directory(node));
        }
    }

    /// Whether nobody asks for anything when everybody beats.
    async fn is_content(&self) -> bool {
        let nodes: Vec<&Node> = self.nodes.iter().collect();
        nodes.iter().for_each(|node| node.cluster.beat());
        let beats = all_said(&nodes).await;
        nodes.iter().for_each(|node| node.hears(&beats));
        all_said(&nodes).await.is_empty()
    }

    /// Takes the place of Redis, which knows the rooms.
    fn consult_directory(&self, node: &Node) {
        if !node.cluster.instances.lock().take_doubt() {
            return;
        }
        for room in &self.deleted {
            node.cluster.outbox.directory.deleted(&room.info.id, false);
            node.service().forget_room(&room.info.id);
        }
        for room in &self.rooms {
            node.cluster.learn_room((&room.info).into());
        }
    }
}

#[tokio::test]
async fn whatever_is_lost_all_instances_know_the_same_in_the_end() {
    for seed in 1..=60 {
        let mut world = World::new(seed).await;
        for _ in 0..400 {
            world.act().await;
        }
        world.calm_down().await;
        assert!(world.is_content().await, "SEED={seed}");
        for node in &world.nodes {
            assert_eq!(node.service().hub.room_count(), world.rooms.len(), "SEED={seed}");
        }
        let [first, others @ ..] = &*world.nodes else {
            unreachable!()
        };
        assert_eq!(first.knows().len(), world.sockets.len(), "SEED={seed}");
        for other in others {
            let (one, other) = (first.knows(), other.knows());
            let different: Vec<_> = one.iter().zip(&other).filter(|(one, other)| one != other).collect();
            assert!(
                one.len() == other.len() && different.is_empty(),
                "SEED={seed} {different:?}"
            );
        }
    }
}
