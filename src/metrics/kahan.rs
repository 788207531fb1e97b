/// Compensated summation after Kahan and Neumaier: the error of each addition is kept and added at the end.
#[derive(Debug, Clone, Copy, Default)]
pub struct KahanSum {
    sum: f64,
    error: f64,
}

impl KahanSum {
    pub fn add(&mut self, value: f64) {
        let next = self.sum + value;
        if next.is_infinite() || next.is_nan() {
            self.error = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.error += (self.sum - next) + value;
        } else {
            self.error += (value - next) + self.sum;
        }
        self.sum = next;
    }

    pub fn value(&self) -> f64 {
        self.sum + self.error
    }

    /// The sum without compensation, which alone says whether it overflowed.
    pub fn overflowed(&self) -> bool {
        self.sum.is_infinite()
    }
}

impl FromIterator<f64> for KahanSum {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> KahanSum {
        let mut sum = KahanSum::default();
        values.into_iter().for_each(|v| sum.add(v));
        sum
    }
}

/// The mean; computed incrementally once the sum overflows.
pub fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count() as f64;
    let sum: KahanSum = values.clone().collect();
    if !sum.overflowed() || values.clone().any(f64::is_infinite) {
        return sum.value() / count;
    }
    let mut mean = KahanSum::default();
    for value in values {
        mean.add(value / count);
    }
    mean.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_are_not_lost_between_large_ones() {
        assert_eq!([1.0, 1e100, 1.0, -1e100].into_iter().collect::<KahanSum>().value(), 2.0);
        assert_eq!(mean([1e308, 1e308, 1e308].into_iter()), 1e308);
        assert_eq!(mean([f64::INFINITY, 1.0].into_iter()), f64::INFINITY);
    }
}
