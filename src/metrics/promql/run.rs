use std::ops::{Deref, Range};
use std::sync::Arc;

/// A run of a list that may be shared: a series' samples within a decoded piece of a block, say. It is copied only if it is
/// changed.
#[derive(Debug)]
pub struct Run<T> {
    /// None if there is nothing.
    all: Option<Arc<Vec<T>>>,
    from: usize,
    /// The end of the list if `None`.
    to: Option<usize>,
}

impl<T> Run<T> {
    /// `part` lies within `all`.
    pub fn shared(all: Arc<Vec<T>>, part: Range<usize>) -> Run<T> {
        Run { all: Some(all), from: part.start, to: Some(part.end) }
    }

    /// A run of its items, shared with it; `part` lies within it.
    pub fn part(&self, part: Range<usize>) -> Run<T> {
        Run { all: self.all.clone(), from: self.from + part.start, to: Some(self.from + part.end) }
    }

    /// Drops the first `count` items.
    pub fn skip(&mut self, count: usize) {
        self.from += count.min(self.len());
    }

    /// Takes the first `count` items away.
    pub fn split_front(&mut self, count: usize) -> Run<T> {
        let from = self.from;
        self.skip(count);
        Run { all: self.all.clone(), from, to: Some(self.from) }
    }
}

impl<T> Clone for Run<T> {
    fn clone(&self) -> Run<T> {
        Run { all: self.all.clone(), from: self.from, to: self.to }
    }
}

impl<T: Clone> Run<T> {
    fn edit(&mut self) -> &mut Vec<T> {
        if self.from != 0 || self.to.is_some() {
            *self = self.to_vec().into();
        }
        Arc::make_mut(self.all.get_or_insert_default())
    }

    pub fn push(&mut self, item: T) {
        self.edit().push(item);
    }

    pub fn clear(&mut self) {
        *self = Run::default();
    }

    pub fn resize(&mut self, length: usize, item: T) {
        if self.len() != length {
            self.edit().resize(length, item);
        }
    }

    pub fn into_vec(self) -> Vec<T> {
        match self {
            Run { all: Some(all), from: 0, to: None } => Arc::unwrap_or_clone(all),
            part => part.to_vec(),
        }
    }
}

impl<T: Clone> Extend<T> for Run<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        self.edit().extend(items);
    }
}

impl<T> Default for Run<T> {
    fn default() -> Run<T> {
        Run { all: None, from: 0, to: None }
    }
}

impl<T> From<Vec<T>> for Run<T> {
    fn from(all: Vec<T>) -> Run<T> {
        let all = if all.is_empty() { None } else { Some(Arc::new(all)) };
        Run { all, from: 0, to: None }
    }
}

impl<T> FromIterator<T> for Run<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Run<T> {
        items.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T> Deref for Run<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let Some(all) = &self.all else { return &[] };
        match self.to {
            Some(to) => &all[self.from..to],
            None => &all[self.from..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Run;
    use std::sync::Arc;

    #[test]
    fn what_is_shared_is_never_changed() {
        let all = Arc::new(vec![1, 2, 3, 4]);
        let mut run = Run::shared(all.clone(), 1..3);
        run.push(9);
        run.skip(1);
        assert_eq!((&*run, &*all), (&[3, 9][..], &vec![1, 2, 3, 4]));
        run.push(10);
        assert_eq!(*run, [3, 9, 10]);
        let front = run.split_front(2);
        run.push(11);
        assert_eq!((front.into_vec(), run.into_vec()), (vec![3, 9], vec![10, 11]));
    }
}
