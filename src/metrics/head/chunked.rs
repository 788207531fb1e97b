//! A list that grows by chunks. It never moves what it holds, so that the millionth item costs what the tenth did, and it
//! has at most one chunk more than it needs.

const CHUNK: usize = 4_096;

#[derive(Debug)]
pub struct Chunked<T> {
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Chunked<T> {
        Chunked { chunks: Vec::new() }
    }
}

impl<T> Chunked<T> {
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Adds an item and gives its position.
    pub fn push(&mut self, item: T) -> u32 {
        let position = self.len() as u32;
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(item),
            // The first chunk grows as it needs to: most lists are short.
            None => self.chunks.push(vec![item]),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(item);
                self.chunks.push(chunk);
            }
        }
        position
    }

    pub fn get(&self, position: u32) -> Option<&T> {
        self.chunks.get(position as usize / CHUNK)?.get(position as usize % CHUNK)
    }

    pub fn get_mut(&mut self, position: u32) -> Option<&mut T> {
        self.chunks.get_mut(position as usize / CHUNK)?.get_mut(position as usize % CHUNK)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

/// Positions by reference; references are numbers from a range that is mostly in use.
#[derive(Debug, Default)]
pub struct Positions {
    /// Each position plus one; 0 where there is none.
    chunks: Vec<Option<Box<[u32]>>>,
}

impl Positions {
    pub fn get(&self, reference: u32) -> Option<u32> {
        let chunk = self.chunks.get(reference as usize / CHUNK)?.as_ref()?;
        chunk[reference as usize % CHUNK].checked_sub(1)
    }

    pub fn set(&mut self, reference: u32, position: u32) {
        let chunk = reference as usize / CHUNK;
        if self.chunks.len() <= chunk {
            self.chunks.resize(chunk + 1, None);
        }
        let chunk = self.chunks[chunk].get_or_insert_with(|| vec![0; CHUNK].into());
        chunk[reference as usize % CHUNK] = position + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_and_positions_are_found_across_chunks() {
        let mut list = Chunked::default();
        let mut positions = Positions::default();
        for n in 0..CHUNK as u32 * 2 + 5 {
            assert_eq!(list.push(n * 3), n);
            positions.set(n * 2, n);
        }
        assert_eq!((list.len(), list.iter().count()), (CHUNK * 2 + 5, CHUNK * 2 + 5));
        for n in [0, CHUNK as u32 - 1, CHUNK as u32, CHUNK as u32 * 2 + 4] {
            assert_eq!((list.get(n), positions.get(n * 2), positions.get(n * 2 + 1)), (Some(&(n * 3)), Some(n), None));
        }
        assert_eq!((list.get(CHUNK as u32 * 2 + 5), positions.get(1 << 30)), (None, None));
    }
}
