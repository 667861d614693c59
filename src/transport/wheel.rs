//! A timer wheel: when each of many things is to be looked at, in a few bytes for each. Never knows whether it is due: who
//! looks decides, and puts it back. `DelayQueue` of `tokio-util` keeps about 70 bytes for each, and a timer of tokio's more.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Steps within the shortest time that matters: nothing is looked at later than by so small a part of it.
const STEPS: u32 = 64;
/// Slots of the wheel; what is due later is looked at early.
const SLOTS: u64 = 96;
/// The shortest step.
const SHORTEST: Duration = Duration::from_millis(1);

/// Keys, by the step at which they are to be looked at.
#[derive(Debug)]
pub(super) struct Wheel<K> {
    step: Duration,
    began: Instant,
    slots: Box<[Mutex<Vec<K>>]>,
    /// The last step of which everything was taken.
    taken: AtomicU64,
}

impl<K> Wheel<K> {
    /// A wheel for times of which `shortest` is the shortest.
    pub(super) fn new(shortest: Duration) -> Self {
        Self {
            step: (shortest / STEPS).max(SHORTEST),
            began: Instant::now(),
            slots: (0..SLOTS).map(|_| Mutex::default()).collect(),
            taken: AtomicU64::new(0),
        }
    }

    /// The time between two turns.
    pub(super) fn step(&self) -> Duration {
        self.step
    }

    /// Adds what is to be looked at after this time: at most a step later, and perhaps earlier.
    pub(super) fn insert(&self, key: K, after: Duration) {
        let due = self.began.elapsed().saturating_add(after);
        let step = u64::try_from(due.as_nanos().div_ceil(self.step.as_nanos())).unwrap_or(u64::MAX);
        loop {
            let taken = self.taken.load(Ordering::Acquire);
            let step = step.clamp(taken + 1, taken + SLOTS - 1);
            let Some(slot) = self.slot(step) else { return };
            let mut slot = slot.lock();
            // Not behind its back: under the lock, the slot is still to be taken.
            if self.taken.load(Ordering::Acquire) < step {
                return slot.push(key);
            }
        }
    }

    /// Takes what is due now.
    pub(super) fn take(&self) -> impl Iterator<Item = K> + use<K> {
        let now = u64::try_from(self.began.elapsed().as_nanos() / self.step.as_nanos()).unwrap_or(u64::MAX);
        let mut due = Vec::new();
        // After a long sleep of the machine, once round.
        let first = (self.taken.load(Ordering::Acquire) + 1).max(now.saturating_sub(SLOTS - 1));
        for step in first..=now {
            if let Some(slot) = self.slot(step) {
                let mut slot = slot.lock();
                self.taken.store(step, Ordering::Release);
                due.push(std::mem::take(&mut *slot));
            }
        }
        due.into_iter().flatten()
    }

    /// Resolves when the next step begins.
    pub(super) async fn turn(&self) {
        let next = self.step.as_nanos() * u128::from(self.taken.load(Ordering::Acquire) + 1);
        let left = next.saturating_sub(self.began.elapsed().as_nanos());
        let left = Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX));
        tokio::time::sleep(left.max(SHORTEST)).await;
    }

    fn slot(&self, step: u64) -> Option<&Mutex<Vec<K>>> {
        self.slots.get(usize::try_from(step % SLOTS).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn wheel() -> Wheel<u64> {
        Wheel::new(SHORTEST * STEPS)
    }

    #[test]
    fn nothing_is_due_before_its_time_unless_that_is_far_away() {
        let wheel = wheel();
        wheel.insert(1, Duration::from_millis(30));
        wheel.insert(2, Duration::from_secs(3600));
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let before = wheel.began.elapsed();
            let due: Vec<u64> = wheel.take().collect();
            assert!(
                !due.contains(&1) || wheel.began.elapsed() >= Duration::from_millis(30),
                "{before:?}"
            );
            seen.extend(due);
        }
        assert_eq!(seen, [1, 2]);
    }

    #[test]
    fn each_is_taken_once_however_many_are_added_meanwhile() {
        const KEYS: u64 = 200_000;
        let wheel = Arc::new(wheel());
        let adding = [0, 1].map(|half| {
            let wheel = wheel.clone();
            std::thread::spawn(move || {
                for key in (half..KEYS).step_by(2) {
                    wheel.insert(key, Duration::from_micros(key % 3_000));
                }
            })
        });
        let mut seen = Vec::new();
        while !adding.iter().all(std::thread::JoinHandle::is_finished) || seen.len() < KEYS as usize {
            seen.extend(wheel.take());
            assert!(
                wheel.began.elapsed() < Duration::from_secs(60),
                "{} of {KEYS}",
                seen.len()
            );
        }
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..KEYS));
    }

    #[test]
    fn a_long_sleep_loses_nothing() {
        let mut wheel = wheel();
        for key in 0..SLOTS {
            wheel.insert(key, Duration::from_millis(key));
        }
        wheel.began -= Duration::from_secs(1000);
        assert_eq!(wheel.take().count() as u64, SLOTS);
        wheel.insert(7, Duration::ZERO);
        wheel.began -= Duration::from_millis(2);
        assert_eq!(wheel.take().collect::<Vec<_>>(), [7]);
    }
}
