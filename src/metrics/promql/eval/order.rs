//! The order of equal values. Prometheus sorts results by value with the unstable sort of Go's `sort` package, and picks
//! the largest with its `heap`. Both are deterministic, so that dashboards show equal values in the same order at each
//! refresh; what follows makes the same comparisons and exchanges. The sort is Orson Peters' pattern-defeating quicksort
//! with Go's constants.

/// Up to this length a run is sorted by insertion.
const INSERTION_MAX: usize = 12;
/// Pieces of at least this length take their pivot from nine elements.
const NINTHER_MIN: usize = 50;
/// Exchanges among these nine if they were in descending order.
const EXCHANGES_MAX: usize = 12;
/// Pairs that are out of order in a piece that counts as nearly sorted.
const NEARLY_SORTED_PAIRS: usize = 5;

/// Sorts by `less`, with equal elements in the order in which Go's `sort.Sort` leaves them.
pub fn sort<T>(items: &mut [T], less: impl Fn(&T, &T) -> bool) {
    let bad_pivots = bits(items.len());
    let length = items.len();
    Sorter { items, less }.sort(0, length, bad_pivots);
}

/// Binary digits of `n`.
fn bits(n: usize) -> u32 {
    usize::BITS - n.leading_zeros()
}

#[derive(PartialEq, Eq)]
enum Hint {
    Ascending,
    Descending,
    Unknown,
}

struct Sorter<'a, T, F> {
    items: &'a mut [T],
    less: F,
}

impl<T, F: Fn(&T, &T) -> bool> Sorter<'_, T, F> {
    fn less(&self, a: usize, b: usize) -> bool {
        (self.less)(&self.items[a], &self.items[b])
    }

    /// Sorts `from..to`; after `bad_pivots` of them it goes on as a heap sort.
    fn sort(&mut self, mut from: usize, mut to: usize, mut bad_pivots: u32) {
        let (mut balanced, mut partitioned) = (true, true);
        loop {
            let length = to - from;
            if length <= INSERTION_MAX {
                return self.insertion(from, to);
            }
            if bad_pivots == 0 {
                return self.heap(from, to);
            }
            if !balanced {
                self.break_patterns(from, to);
                bad_pivots -= 1;
            }
            let (mut pivot, mut hint) = self.pivot(from, to);
            if hint == Hint::Descending {
                self.items[from..to].reverse();
                pivot = (to - 1) - (pivot - from);
                hint = Hint::Ascending;
            }
            if balanced && partitioned && hint == Hint::Ascending && self.nearly_sorted(from, to) {
                return;
            }
            // Nothing here is less than the element before: all that equal the pivot are done at once.
            if from > 0 && !self.less(from - 1, pivot) {
                from = self.partition_equal(from, to, pivot);
                continue;
            }
            let (middle, already) = self.partition(from, to, pivot);
            partitioned = already;
            let (left, right) = (middle - from, to - middle);
            balanced = left.min(right) >= length / 8;
            if left < right {
                self.sort(from, middle, bad_pivots);
                from = middle + 1;
            } else {
                self.sort(middle + 1, to, bad_pivots);
                to = middle;
            }
        }
    }

    fn insertion(&mut self, from: usize, to: usize) {
        for i in from + 1..to {
            let mut at = i;
            while at > from && self.less(at, at - 1) {
                self.items.swap(at, at - 1);
                at -= 1;
            }
        }
    }

    fn heap(&mut self, from: usize, to: usize) {
        let length = to - from;
        for root in (0..=(length - 1) / 2).rev() {
            self.sift_down(root, length, from);
        }
        for end in (0..length).rev() {
            self.items.swap(from, from + end);
            self.sift_down(0, end, from);
        }
    }

    fn sift_down(&mut self, mut root: usize, length: usize, from: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= length {
                return;
            }
            if child + 1 < length && self.less(from + child, from + child + 1) {
                child += 1;
            }
            if !self.less(from + root, from + child) {
                return;
            }
            self.items.swap(from + root, from + child);
            root = child;
        }
    }

    /// Exchanges three elements near the middle with others that the length picks.
    fn break_patterns(&mut self, from: usize, to: usize) {
        let length = to - from;
        if length < 8 {
            return;
        }
        let mut random = length as u64;
        let mask = (1usize << bits(length)) - 1;
        let middle = from + (length / 4) * 2 - 1;
        for i in 0..3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let other = random as usize & mask;
            let other = if other >= length { other - length } else { other };
            self.items.swap(middle - 1 + i, from + other);
        }
    }

    fn pivot(&self, from: usize, to: usize) -> (usize, Hint) {
        let quarter = (to - from) / 4;
        let mut exchanges = 0;
        let mut candidates = [from + quarter, from + quarter * 2, from + quarter * 3];
        if to - from >= NINTHER_MIN {
            candidates = candidates.map(|c| self.median([c - 1, c, c + 1], &mut exchanges));
        }
        let pivot = self.median(candidates, &mut exchanges);
        let hint = match exchanges {
            0 => Hint::Ascending,
            EXCHANGES_MAX => Hint::Descending,
            _ => Hint::Unknown,
        };
        (pivot, hint)
    }

    fn median(&self, [mut a, mut b, mut c]: [usize; 3], exchanges: &mut usize) -> usize {
        let mut order = |low: &mut usize, high: &mut usize| {
            if self.less(*high, *low) {
                *exchanges += 1;
                std::mem::swap(low, high);
            }
        };
        order(&mut a, &mut b);
        order(&mut b, &mut c);
        order(&mut a, &mut b);
        b
    }

    /// Whether the piece is sorted, perhaps after a few pairs were put right.
    fn nearly_sorted(&mut self, from: usize, to: usize) -> bool {
        let mut i = from + 1;
        for _ in 0..NEARLY_SORTED_PAIRS {
            while i < to && !self.less(i, i - 1) {
                i += 1;
            }
            if i == to {
                return true;
            }
            if to - from < NINTHER_MIN {
                return false;
            }
            self.items.swap(i, i - 1);
            if i - from >= 2 {
                let mut at = i - 1;
                while at >= 1 && self.less(at, at - 1) {
                    self.items.swap(at, at - 1);
                    at -= 1;
                }
            }
            if to - i >= 2 {
                let mut at = i + 1;
                while at < to && self.less(at, at - 1) {
                    self.items.swap(at, at - 1);
                    at += 1;
                }
            }
        }
        false
    }

    /// Smaller elements before the pivot, others after it. Returns where the pivot is, and whether nothing had to move.
    fn partition(&mut self, from: usize, to: usize, pivot: usize) -> (usize, bool) {
        self.items.swap(from, pivot);
        // `high` is one past the last element that is not placed yet.
        let (mut low, mut high) = (from + 1, to);
        let mut already = true;
        loop {
            while low < high && self.less(low, from) {
                low += 1;
            }
            while low < high && !self.less(high - 1, from) {
                high -= 1;
            }
            if low >= high {
                self.items.swap(high - 1, from);
                return (high - 1, already);
            }
            already = false;
            self.items.swap(low, high - 1);
            low += 1;
            high -= 1;
        }
    }

    /// Elements that equal the pivot before those that are greater. Returns where the greater ones begin.
    fn partition_equal(&mut self, from: usize, to: usize, pivot: usize) -> usize {
        self.items.swap(from, pivot);
        let (mut low, mut high) = (from + 1, to);
        loop {
            while low < high && !self.less(from, low) {
                low += 1;
            }
            while low < high && self.less(from, high - 1) {
                high -= 1;
            }
            if low >= high {
                return low;
            }
            self.items.swap(low, high - 1);
            low += 1;
            high -= 1;
        }
    }
}

/// The `k` greatest by `less` of what is offered, as a binary heap with the least of them on top. Of elements that are
/// equal to the least, the earlier ones stay.
pub struct Greatest<T, F> {
    heap: Vec<T>,
    k: usize,
    less: F,
}

impl<T, F: Fn(&T, &T) -> bool> Greatest<T, F> {
    /// `k` is at least 1.
    pub fn new(k: usize, less: F) -> Greatest<T, F> {
        Greatest { heap: Vec::new(), k, less }
    }

    /// `replaces(least, item)` says whether `item` takes the place of the least when there is no more room.
    pub fn offer(&mut self, item: T, replaces: impl Fn(&T, &T) -> bool) {
        if self.heap.len() < self.k {
            self.heap.push(item);
            let mut at = self.heap.len() - 1;
            while at > 0 && (self.less)(&self.heap[at], &self.heap[(at - 1) / 2]) {
                self.heap.swap(at, (at - 1) / 2);
                at = (at - 1) / 2;
            }
        } else if replaces(&self.heap[0], &item) {
            self.heap[0] = item;
            self.sift_down();
        }
    }

    fn sift_down(&mut self) {
        let mut root = 0;
        loop {
            let left = 2 * root + 1;
            if left >= self.heap.len() {
                return;
            }
            let right = left + 1;
            let child = if right < self.heap.len() && (self.less)(&self.heap[right], &self.heap[left]) { right } else { left };
            if !(self.less)(&self.heap[child], &self.heap[root]) {
                return;
            }
            self.heap.swap(root, child);
            root = child;
        }
    }

    /// The greatest first.
    pub fn into_sorted(mut self) -> Vec<T> {
        let less = self.less;
        sort(&mut self.heap, |a, b| less(b, a));
        self.heap
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_is_sorted(mut items in prop::collection::vec(0u32..40, 0..400)) {
            let mut expected = items.clone();
            expected.sort_unstable();
            sort(&mut items, |a, b| a < b);
            prop_assert_eq!(items, expected);
        }

        #[test]
        fn long_runs_are_sorted_too(seed in any::<u64>(), length in 0usize..5_000, distinct in 1u64..5_000) {
            let mut items: Vec<u64> = (0..length as u64).map(|i| (i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) % distinct).collect();
            let mut expected = items.clone();
            expected.sort_unstable();
            sort(&mut items, |a, b| a < b);
            prop_assert_eq!(items, expected);
        }

        #[test]
        fn the_greatest_are_kept(items in prop::collection::vec(0u32..30, 0..60), k in 1usize..20) {
            let mut greatest = Greatest::new(k, |a: &u32, b: &u32| a < b);
            items.iter().for_each(|i| greatest.offer(*i, |least, i| least < i));
            let mut expected = items.clone();
            expected.sort_unstable_by(|a, b| b.cmp(a));
            expected.truncate(k);
            prop_assert_eq!(greatest.into_sorted(), expected);
        }
    }

    #[test]
    fn equal_elements_of_a_short_run_keep_their_order() {
        let mut items = vec![(1, 'a'), (0, 'b'), (1, 'c'), (0, 'd')];
        sort(&mut items, |a, b| a.0 < b.0);
        assert_eq!(items, [(0, 'b'), (0, 'd'), (1, 'a'), (1, 'c')]);
    }
}
