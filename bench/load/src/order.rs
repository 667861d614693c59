//! One receiver's place in the one order that all receivers share: what came next, what came late, what came again,
//! what never came. Constant time and no allocation as long as nothing is wrong.

use std::ops::Range;

/// What a delivery is to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// New, and nothing newer was received before.
    InOrder,
    /// New, but something newer was received before.
    Late,
    /// Received before.
    Again,
}

/// How far a receiver has come.
#[derive(Default)]
pub struct Reader {
    /// Everything before this position was received, but for what is in `missed`.
    next: u64,
    /// Positions that were jumped over.
    missed: Vec<Range<u64>>,
}

impl Reader {
    /// Books what arrived at `position` of the shared order.
    pub fn receive(&mut self, position: u64) -> Arrival {
        if position >= self.next {
            if position > self.next {
                self.missed.push(self.next..position);
            }
            self.next = position + 1;
            return Arrival::InOrder;
        }
        let Some(index) = self.missed.iter().position(|gap| gap.contains(&position)) else {
            return Arrival::Again;
        };
        let gap = self.missed.swap_remove(index);
        let rest = [gap.start..position, position + 1..gap.end];
        self.missed.extend(rest.into_iter().filter(|part| !part.is_empty()));
        Arrival::Late
    }

    /// Everything before this position was received or jumped over.
    pub fn reached(&self) -> u64 {
        self.next
    }

    /// How many positions were jumped over and have not been received since.
    pub fn missed(&self) -> u64 {
        self.missed.iter().map(|gap| gap.end - gap.start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_jumped_over_is_missed_until_it_comes_late() {
        let mut reader = Reader::default();
        assert_eq!(reader.receive(0), Arrival::InOrder);
        assert_eq!(reader.receive(4), Arrival::InOrder);
        assert_eq!(reader.missed(), 3);
        assert_eq!(reader.receive(2), Arrival::Late);
        assert_eq!(reader.receive(2), Arrival::Again);
        assert_eq!(reader.receive(4), Arrival::Again);
        assert_eq!(reader.receive(5), Arrival::InOrder);
        assert_eq!(reader.missed(), 2);
        assert_eq!((reader.receive(1), reader.receive(3)), (Arrival::Late, Arrival::Late));
        assert_eq!(reader.missed(), 0);
    }
}
