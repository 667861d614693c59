//! The log's way to JavaScript: what the core says through `tracing`, from `info` on, goes to the `logger` of each service
//! of the process. Never what other crates say, which may hold what clients and servers send.

use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Once, Weak},
};

use parking_lot::Mutex;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::{Context, SubscriberExt as _},
};

use super::queue::{Item, Queue};

/// The services that are told, whose queues are theirs.
static QUEUES: Mutex<Vec<Weak<Queue>>> = Mutex::new(Vec::new());

/// Tells a service from now on, for as long as it has its queue.
pub(super) fn tell(queue: &Arc<Queue>) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO);
        let subscriber = Registry::default().with(ToLoggers.with_filter(ours));
        // The process has another one only where something else has put it there, which then has the log.
        let _ = tracing::subscriber::set_global_default(subscriber);
    });
    let mut queues = QUEUES.lock();
    queues.retain(|queue| queue.strong_count() > 0);
    queues.push(Arc::downgrade(queue));
}

struct ToLoggers;

impl<S: Subscriber> Layer<S> for ToLoggers {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let (level, text) = (name_of(*event.metadata().level()), line.text());
        // Their last users may let go of them here, so not under the lock.
        let queues: Vec<_> = QUEUES.lock().iter().filter_map(Weak::upgrade).collect();
        for queue in queues {
            queue.push(Item::Log(level, text.clone()));
        }
    }
}

/// The method of a logger.
fn name_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}

/// What is said, then the fields: `connected to Redis (role=Publisher, port=6379)`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn text(self) -> String {
        match self.fields.is_empty() {
            true => self.message,
            false => format!("{} ({})", self.message, self.fields),
        }
    }

    fn put(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        let separator = if self.fields.is_empty() { "" } else { ", " };
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, "{separator}{name}={value}"),
        };
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }
}
