//! Lists in order, sets and maps, by little code.
//!
//! The standard library's sort is compiled anew for everything that is sorted, 3 to 4 kB each time,
//! and `collect` of a `BTreeMap` or a `BTreeSet` sorts too. That was a thirtieth of the launcher.
//! Here it is there once: numbers are sorted, and what they stand for is moved to its places.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Sorts a list. Equals stay in the order that they have.
pub(crate) fn sort_by<T>(list: &mut [T], order: impl Fn(&T, &T) -> Ordering) {
    let mut from = sorted(list.len(), &|a, b| order(&list[a], &list[b]));
    // Along each circle of items that take one another's places.
    for first in 0..list.len() {
        let mut place = first;
        loop {
            let next = std::mem::replace(&mut from[place], place);
            if next == first || next == place {
                break;
            }
            list.swap(place, next);
            place = next;
        }
    }
}

/// Sorts a list. Equals stay in the order that they have.
pub(crate) fn sort<T: Ord>(list: &mut [T]) {
    sort_by(list, T::cmp);
}

/// The numbers below `length` in an order.
fn sorted(length: usize, order: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..length).collect();
    #[expect(clippy::disallowed_methods, reason = "the one for all")]
    numbers.sort_by(|a, b| order(*a, *b));
    numbers
}

/// A map of what comes; of two with the same key, the later one.
pub(crate) fn map<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(entries);
    map
}

/// The set of what comes.
pub(crate) fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(items);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_sorts_as_the_standard_library_does(list: Vec<(u8, u16)>) {
            let (mut ours, mut theirs) = (list.clone(), list);
            sort_by(&mut ours, |a, b| a.0.cmp(&b.0));
            theirs.sort_by_key(|item| item.0);
            prop_assert_eq!(&ours, &theirs);
            sort(&mut ours);
            theirs.sort_unstable();
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn maps_and_sets_are_those_of_collect(list: Vec<(u8, u16)>) {
            prop_assert_eq!(map(list.clone()), list.iter().copied().collect());
            prop_assert_eq!(set(list.clone()), list.into_iter().collect());
        }
    }
}
