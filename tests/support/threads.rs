//! Threads of a test that are to stand still: whether one does is asked of the system, so that none is merely late.

use std::{path::PathBuf, time::Duration};

/// A thread, as the system knows it.
pub struct Thread(Option<PathBuf>);

/// Looks, one after another, that find a thread asleep before it counts as standing still: it may have been waiting for
/// memory.
const LOOKS: usize = 50;

impl Thread {
    /// The thread that calls this.
    pub fn current() -> Self {
        // Linux's; elsewhere there is none.
        Self(std::fs::read_link("/proc/thread-self").ok())
    }

    /// Waits until the thread stands still before a lock, or has ended.
    pub fn stands_still(&self) {
        let Some(task) = &self.0 else {
            return std::thread::sleep(Duration::from_millis(200));
        };
        let stat = PathBuf::from("/proc").join(task).join("stat");
        let mut asleep = 0;
        while asleep < LOOKS {
            let text = std::fs::read_to_string(&stat).unwrap_or_default();
            // `pid (name) state …`; nothing when it has ended.
            let state = text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            match state {
                Some('R' | 'D') => asleep = 0,
                Some(_) => asleep += 1,
                None => return,
            }
            std::thread::yield_now();
        }
    }
}
