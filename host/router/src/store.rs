//! Containers that a router and the next one share: a change copies the part it touches.
//!
//! Owns nothing but what is put in. Knows nothing of agents or words.

use std::ops::Deref;
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// How many values of a [`Chunked`] are copied together.
const CHUNK: usize = 64;

/// A list of one or more. Most lists of an index hold one value, which needs no memory of its own.
#[derive(Clone)]
pub(crate) enum List<T> {
    One(T),
    Many(Arc<[T]>),
}

impl<T> List<T> {
    /// None where there is nothing.
    pub(crate) fn new(mut values: Vec<T>) -> Option<Self> {
        match values.len() {
            0 => None,
            1 => values.pop().map(List::One),
            _ => Some(List::Many(values.into())),
        }
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            List::One(value) => std::slice::from_ref(value),
            List::Many(values) => values,
        }
    }
}

type Shard<T> = FxHashMap<u64, T>;

/// Values by key.
#[derive(Clone)]
pub(crate) struct Sharded<T> {
    /// A power of two of them: small enough to copy the list of them, many enough that each is small.
    shards: Box<[Arc<Shard<T>>]>,
}

impl<T: Clone> Sharded<T> {
    /// With as many shards as the power of two that is asked for.
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: (0..shards.next_power_of_two()).map(|_| Arc::default()).collect() }
    }

    /// What a key holds.
    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        self.shards[self.shard(key)].get(&key)
    }

    /// Puts a value, or none, in the place of what the key holds.
    pub(crate) fn set(&mut self, key: u64, value: Option<T>) {
        let at = self.shard(key);
        let shard = Arc::make_mut(&mut self.shards[at]);
        match value {
            Some(value) => {
                shard.insert(key, value);
            }
            None => {
                shard.remove(&key);
            }
        }
    }

    fn shard(&self, key: u64) -> usize {
        (key >> 32) as usize & (self.shards.len() - 1)
    }
}

impl<T: Clone> Sharded<List<T>> {
    /// The list that a key holds.
    pub(crate) fn list(&self, key: u64) -> &[T] {
        self.get(key).map_or(&[], |list| list)
    }

    /// Puts a list in the place of what the key holds.
    pub(crate) fn set_list(&mut self, key: u64, values: Vec<T>) {
        self.set(key, List::new(values));
    }
}

/// Values by place, none where nothing was put.
#[derive(Clone)]
pub(crate) struct Chunked<T> {
    chunks: Vec<Arc<Vec<Option<T>>>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T: Clone> Chunked<T> {
    /// One more than the highest place.
    pub(crate) fn places(&self) -> usize {
        self.len
    }

    /// The value in a place.
    pub(crate) fn get(&self, place: u32) -> Option<&T> {
        self.chunks.get(place as usize / CHUNK)?.get(place as usize % CHUNK)?.as_ref()
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        let chunk = Arc::make_mut(self.chunks.get_mut(place as usize / CHUNK)?);
        chunk.get_mut(place as usize % CHUNK)?.as_mut()
    }

    /// Puts a value in a free place, and says which.
    pub(crate) fn add(&mut self, value: T) -> u32 {
        if let Some(place) = self.free.pop() {
            Arc::make_mut(&mut self.chunks[place as usize / CHUNK])[place as usize % CHUNK] = Some(value);
            return place;
        }
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Arc::default());
        }
        if let Some(last) = self.chunks.last_mut() {
            Arc::make_mut(last).push(Some(value));
        }
        self.len += 1;
        self.len as u32 - 1
    }

    /// Takes the value out of a place, which is free from then on.
    pub(crate) fn remove(&mut self, place: u32) -> Option<T> {
        let chunk = Arc::make_mut(self.chunks.get_mut(place as usize / CHUNK)?);
        let value = chunk.get_mut(place as usize % CHUNK)?.take()?;
        self.free.push(place);
        Some(value)
    }

    /// Every value with its place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let values = self.chunks.iter().flat_map(|chunk| chunk.iter());
        values.enumerate().filter_map(|(place, value)| Some((place as u32, value.as_ref()?)))
    }
}
