//! What runs for as long as the cluster is joined.

use parking_lot::Mutex;
use tokio::{runtime::Handle, task::JoinHandle};

/// The tasks of one instance.
pub(super) struct Tasks {
    runtime: Handle,
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl Tasks {
    pub(super) fn new(runtime: &Handle) -> Self {
        Self {
            runtime: runtime.clone(),
            running: Mutex::default(),
        }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock();
        running.retain(|task| !task.is_finished());
        running.push(self.runtime.spawn(task));
    }

    pub(super) fn abort_all(&self) {
        for task in self.running.lock().drain(..) {
            task.abort();
        }
    }
}
