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
    use super::*;

    fn listed(set: &Ordered<usize>) -> Vec<usize> {
        set.iter().map(|item| **item).collect()
    }

    #[test]
    fn the_order_of_arrival_stays_whatever_leaves() {
        let items: Vec<_> = (0..200).map(Arc::new).collect();
        for step in [1, 3, 7, 11, 199] {
            let mut set = Ordered::default();
            let mut expected: Vec<usize> = Vec::new();
            for item in &items {
                set.push(item.clone());
                expected.push(**item);
            }
            for turn in 0..200 {
                let leaving = turn * step % 200;
                assert!(set.remove(&items[leaving]) && !set.remove(&items[leaving]));
                expected.retain(|item| *item != leaving);
                assert_eq!((listed(&set), set.len()), (expected.clone(), expected.len()));
                if turn % 5 == 4 {
                    set.push(items[leaving].clone());
                    expected.push(leaving);
                    set.remove(&items[leaving]);
                    expected.pop();
                }
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
