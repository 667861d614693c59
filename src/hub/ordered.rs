//! A set that is listed in the order of arrival: who leaves is found without a look at all the others.

use std::{collections::HashMap, sync::Arc};

/// Items up to which one is looked for from the first to the last.
const FEW: usize = 32;

/// Shared items, each once, in the order in which they came. As small as a vector while there are few.
#[derive(Debug)]
pub struct Ordered<T> {
    /// `None` where one has left a large set.
    items: Vec<Option<Arc<T>>>,
    /// In a large set.
    places: Option<Box<Places>>,
}

/// Where each item is, by its address. Boxed, because most sets are small.
#[derive(Debug)]
struct Places(HashMap<usize, usize>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            places: None,
        }
    }
}

fn address<T>(item: &Arc<T>) -> usize {
    Arc::as_ptr(item).addr()
}

impl<T> Ordered<T> {
    /// Adds an item that is not in the set.
    pub fn push(&mut self, item: Arc<T>) {
        if let Some(places) = &mut self.places {
            places.0.insert(address(&item), self.items.len());
        }
        self.items.push(Some(item));
        if self.places.is_none() && self.items.len() > FEW {
            self.places = Some(self.index());
        }
    }

    fn index(&self) -> Box<Places> {
        let places = self.items.iter().flatten().enumerate();
        Box::new(Places(places.map(|(place, item)| (address(item), place)).collect()))
    }

    /// Takes an item out. False when it is not in the set.
    pub fn remove(&mut self, item: &Arc<T>) -> bool {
        let Some(places) = &mut self.places else {
            let place = self.items.iter().flatten().position(|other| Arc::ptr_eq(other, item));
            return place.map(|place| self.items.remove(place)).is_some();
        };
        let Some(place) = places.0.remove(&address(item)) else {
            return false;
        };
        if let Some(item) = self.items.get_mut(place) {
            *item = None;
        }
        let left = places.0.len();
        if left <= FEW / 2 {
            self.items.retain(Option::is_some);
            self.items.shrink_to_fit();
            self.places = None;
        } else if left < self.items.len() / 2 {
            self.items.retain(Option::is_some);
            self.places = Some(self.index());
        }
        true
    }

    /// Whether an item is in the set.
    pub fn contains(&self, item: &Arc<T>) -> bool {
        match &self.places {
            Some(places) => places.0.contains_key(&address(item)),
            None => self.items.iter().flatten().any(|other| Arc::ptr_eq(other, item)),
        }
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.places.as_ref().map_or(self.items.len(), |places| places.0.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.items.iter().flatten()
    }

    /// The items in order.
    pub fn into_vec(self) -> Vec<Arc<T>> {
        self.items.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn listed(set: &Ordered<usize>) -> Vec<usize> {
        set.iter().map(|item| **item).collect()
    }

    /// What happens to the set: an item comes or goes. It is named by its number.
    #[derive(Debug, Clone)]
    enum Step {
        Push(usize),
        Remove(usize),
    }

    const ITEMS: usize = 100;

    /// Mostly coming, then mostly going, so that the set grows large and small again.
    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = |coming: u32| {
            prop_oneof![
                coming => (0..ITEMS).prop_map(Step::Push),
                10 - coming => (0..ITEMS).prop_map(Step::Remove),
            ]
        };
        let phases = [8, 2, 8, 1].map(|coming| vec(step(coming), 0..300));
        phases.prop_map(|phases| phases.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_order_of_arrival_stays_whatever_comes_and_goes(steps in steps()) {
            let items: Vec<_> = (0..ITEMS).map(Arc::new).collect();
            let (mut set, mut expected) = (Ordered::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Push(item) if !expected.contains(&item) => {
                        set.push(items[item].clone());
                        expected.push(item);
                    }
                    Step::Push(_) => {}
                    Step::Remove(item) => {
                        let place = expected.iter().position(|other| *other == item);
                        prop_assert_eq!(set.remove(&items[item]), place.is_some());
                        place.map(|place| expected.remove(place));
                    }
                }
                prop_assert_eq!(listed(&set), expected.clone());
                prop_assert_eq!((set.len(), set.is_empty()), (expected.len(), expected.is_empty()));
            }
        }
    }

    #[test]
    fn a_set_that_has_become_empty_is_as_small_as_at_first() {
        let items: Vec<_> = (0..200).map(Arc::new).collect();
        for step in [1, 3, 7, 11, 199] {
            let mut set = Ordered::default();
            items.iter().for_each(|item| set.push(item.clone()));
            for turn in 0..200 {
                assert!(set.remove(&items[turn * step % 200]));
            }
            assert!(set.is_empty() && set.places.is_none());
        }
    }

    #[test]
    fn in_a_large_set_an_item_is_not_searched_for() {
        let items: Vec<_> = (0..1_000).map(Arc::new).collect();
        let mut set = Ordered::default();
        items.iter().for_each(|item| set.push(item.clone()));
        for (gone, item) in items.iter().enumerate() {
            assert!(set.places.is_some() || set.len() <= FEW);
            set.remove(item);
            // What is left behind is bounded, so that listing is linear as well.
            assert!(set.items.len() <= 2 * set.len().max(FEW) + 1, "after {gone}");
        }
        assert_eq!(set.into_vec().len(), 0);
    }
}
