//! Tasks that look after everybody: a panic must not end them.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinHandle},
};

/// How long a task rests that has panicked: it may do so again at once.
const REST: Duration = Duration::from_millis(100);

/// Runs a task until it ends by itself, and begins it anew when it panics.
pub fn spawn<F>(runtime: &Handle, what: &'static str, begin: impl Fn() -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    runtime.spawn(async move {
        while AssertUnwindSafe(begin()).catch_unwind().await.is_err() {
            tracing::error!("{what} panicked, and begins anew");
            tokio::time::sleep(REST).await;
        }
    })
}

/// As [`spawn`], for who only wants to end it.
pub fn watch<F>(runtime: &Handle, what: &'static str, begin: impl Fn() -> F + Send + 'static) -> AbortHandle
where
    F: Future<Output = ()> + Send + 'static,
{
    spawn(runtime, what, begin).abort_handle()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_begins_anew_until_it_ends_by_itself() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = begun.clone();
        let task = spawn(&Handle::current(), "a task", move || {
            let count = counted.fetch_add(1, Ordering::Relaxed);
            async move { assert!(count >= 2, "on purpose") }
        });
        task.await.unwrap();
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }
}
