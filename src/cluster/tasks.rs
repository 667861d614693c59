//! What runs for as long as the cluster is joined.

use parking_lot::Mutex;
use tokio::{runtime::Handle, task::JoinHandle};

use crate::lasting;

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
        self.add(self.runtime.spawn(task));
    }

    /// As [`Self::spawn`], for a task that a panic must not end.
    pub(super) fn keep<F>(&self, what: &'static str, begin: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.add(lasting::spawn(&self.runtime, what, begin));
    }

    fn add(&self, task: JoinHandle<()>) {
        let mut running = self.running.lock();
        running.retain(|task| !task.is_finished());
        running.push(task);
    }

    pub(super) fn abort_all(&self) {
        for task in self.running.lock().drain(..) {
            task.abort();
        }
    }
}
