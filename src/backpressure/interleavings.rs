//! The account of a client, under many orders of steps.

use std::future::poll_fn;

use shuttle::{future::block_on, thread};

use super::*;
use crate::sync::in_any_order;

/// A reader that pauses is woken, whatever is dealt with while it goes to sleep.
#[test]
fn no_reader_sleeps_for_ever() {
    in_any_order(|| {
        let budget = Arc::default();
        let account = Account::new(&budget);
        let charges: Vec<_> = account.causes(|| (0..2).filter_map(|_| charge(Work::JavaScript, SHARE / 2)).collect());
        let workers: Vec<_> = charges
            .into_iter()
            .map(|charge| thread::spawn(move || drop(charge)))
            .collect();
        block_on(poll_fn(|context| account.poll_ready(context)));
        for worker in workers {
            worker.join().unwrap();
        }
        assert!(!account.is_paused());
        assert_eq!((budget.waiting(), budget.paused()), (0, 0));
    });
}
