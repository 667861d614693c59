//! Locks and atomics of what tests look at under many orders of its steps. They are parking_lot's and the standard
//! library's; with the feature `shuttle`, shuttle's, which decides before each use of one which thread goes on
//! and takes every ordering of an atomic for `SeqCst`.
//!
//! Only where such tests are, for shuttle's work within them alone. A lock that is not from here may be held there as long as
//! none from here is used meanwhile.

#[cfg(not(feature = "shuttle"))]
pub(crate) use {parking_lot::Mutex, parking_lot::MutexGuard, std::sync::atomic};

#[cfg(feature = "shuttle")]
pub(crate) use {shuttle::sync::atomic, shuttle_parking_lot::Mutex, shuttle_parking_lot::MutexGuard};

/// Runs a test under many orders of its threads' steps: at random, and with few changes between threads, in which rarer
/// mistakes show. What fails says how to repeat it.
#[cfg(test)]
#[cfg(feature = "shuttle")]
pub(crate) fn in_any_order(test: impl Fn() + Clone + Send + Sync + 'static) {
    const ORDERS: usize = 2_000;
    const CHANGES: usize = 3;
    shuttle::check_random(test.clone(), ORDERS);
    shuttle::check_pct(test, ORDERS, CHANGES);
}
