//! Counts the steps of the readers in here, so that tests can tell linear work from more.

use std::cell::Cell;

thread_local! {
    static STEPS: Cell<usize> = const { Cell::new(0) };
}

/// Notes steps: bytes looked at.
pub fn add(count: usize) {
    STEPS.set(STEPS.get() + count);
}

/// How many steps something takes on this thread.
pub fn of<R>(run: impl FnOnce() -> R) -> usize {
    STEPS.set(0);
    run();
    STEPS.get()
}
