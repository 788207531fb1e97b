//! Binary operators (contracts/prometheus.md 4.3).

use super::flow::Flow;
use super::series::{ABSENT, without_name};
use super::{Cell, Evaluator, Grid, Result, Series, Value, is_absent, merge_equal};
use crate::metrics::histogram::{Histogram, ResetHint};
use crate::metrics::promql::annotations::Annotations;
use crate::metrics::promql::ast::{Binary, BinaryOp, Expr, ValueType};
use crate::model::Labels;
use crate::query::{Cardinality, Context, QueryError};
use std::cell::RefCell;
use std::collections::HashMap;

/// The result of an operator on two floats. A comparison that does not hold is `None`.
fn floats(op: BinaryOp, a: f64, b: f64) -> Option<f64> {
    use BinaryOp::*;
    let kept = |holds: bool| holds.then_some(a);
    match op {
        Add => Some(a + b),
        Sub => Some(a - b),
        Mul => Some(a * b),
        Div => Some(a / b),
        Mod => Some(a % b),
        Pow => Some(a.powf(b)),
        Atan2 => Some(a.atan2(b)),
        Equal => kept(a == b),
        NotEqual => kept(a != b),
        Less => kept(a < b),
        LessEqual => kept(a <= b),
        Greater => kept(a > b),
        GreaterEqual => kept(a >= b),
        Or | And | Unless | TrimUpper | TrimLower => None,
    }
}

impl Evaluator<'_> {
    pub(super) fn binary(&self, expr: &Expr, binary: &Binary, grid: Grid) -> Result<Value> {
        let left = self.eval(&binary.left, grid)?;
        let right = self.eval(&binary.right, grid)?;
        match (left, right) {
            (Value::Scalar(a), Value::Scalar(b)) => {
                let values = a.iter().zip(&b).map(|(a, b)| match floats(binary.op, *a, *b) {
                    Some(value) => {
                        if binary.returns_bool {
                            1.0
                        } else {
                            value
                        }
                    }
                    None => 0.0,
                });
                Ok(Value::Scalar(values.collect()))
            }
            (Value::Vector(left), Value::Vector(right)) if binary.op.is_set() => {
                merge_equal(set(self.storage.context(), binary, left, right, grid)?).map(Value::Vector)
            }
            (Value::Vector(left), Value::Vector(right)) => self.vectors(expr, binary, left, right, grid).map(Value::Vector),
            _ => Err(QueryError::Execution("no operator takes these operands".to_owned())),
        }
    }

    /// Whether the operator drops the metric name.
    fn drops_name(binary: &Binary) -> bool {
        let keeps = binary.op.is_comparison() || matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        !keeps || binary.returns_bool
    }

    /// The operator with a vector on one side and a scalar on the other; `None` if it has others.
    pub(super) fn with_scalar<'e>(&self, expr: &'e Expr, binary: &'e Binary, grid: Grid) -> Result<Option<Flow<'e>>> {
        let (flow, scalar, scalar_left) = match (binary.left.value_type(), binary.right.value_type()) {
            (ValueType::Vector, ValueType::Scalar) => {
                let flow = self.flow(&binary.left, grid)?;
                (flow, self.scalar(&binary.right, grid)?, false)
            }
            (ValueType::Scalar, ValueType::Vector) => {
                let scalar = self.scalar(&binary.left, grid)?;
                (self.flow(&binary.right, grid)?, scalar, true)
            }
            _ => return Ok(None),
        };
        let flow = flow.then(Box::new(move |one, notes| {
            let elements = Elements { expr, binary, notes };
            scalar.iter().enumerate().for_each(|(step, number)| elements.with_scalar(one, step, *number, scalar_left));
        }));
        if Self::drops_name(binary) { flow.drop_names(self).map(Some) } else { Ok(Some(flow)) }
    }

    fn vectors(&self, expr: &Expr, binary: &Binary, left: Vec<Series>, right: Vec<Series>, grid: Grid) -> Result<Vec<Series>> {
        let swapped = binary.matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let elements = Elements { expr, binary, notes: &self.notes };
        let join = Join { evaluator: self, elements, binary, swapped, many: &many, one: &one };
        let series = join.run(grid)?;
        if Self::drops_name(binary) && self.options.delayed_name_removal {
            return Ok(series.into_iter().map(|s| Series { drop_name: true, ..s }).collect());
        }
        merge_equal(series)
    }
}

/// What an operator does to two values, and where it tells of it.
struct Elements<'a> {
    expr: &'a Expr,
    binary: &'a Binary,
    notes: &'a RefCell<Annotations>,
}

impl Elements<'_> {
    fn with_scalar(&self, one: &mut Series, step: usize, number: f64, scalar_left: bool) {
        let binary = self.binary;
        if one.histogram(step).is_some() {
            let cell = one.get(step);
            one.histograms[step] = None;
            let (a, b) = if scalar_left { (Some(Cell::Float(number)), cell) } else { (cell, Some(Cell::Float(number))) };
            if let Some(result) = a.zip(b).and_then(|(a, b)| self.apply(&a, &b)) {
                one.set(step, result);
            }
            return;
        }
        let value = one.values[step];
        if is_absent(value) {
            return;
        }
        if matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
            self.incompatible("float", "float");
            one.values[step] = ABSENT;
            return;
        }
        let result = if scalar_left { floats(binary.op, number, value) } else { floats(binary.op, value, number) };
        one.values[step] = match (binary.op.is_comparison(), binary.returns_bool, result) {
            (true, true, result) => f64::from(u8::from(result.is_some())),
            (true, false, Some(_)) => value,
            (true, false, None) => ABSENT,
            (false, _, result) => result.unwrap_or(ABSENT),
        };
    }

    fn warn(&self, message: String) {
        self.notes.borrow_mut().warn(self.expr.span.start, message);
    }

    fn info(&self, message: String) {
        self.notes.borrow_mut().info(self.expr.span.start, message);
    }

    fn incompatible(&self, left: &str, right: &str) {
        let op = self.binary.op.as_str();
        self.info(format!("incompatible sample types encountered for binary operator {op:?}: {left} {op} {right}"));
    }

    /// The result for one pair of values; `None` drops the element.
    fn apply(&self, a: &Cell, b: &Cell) -> Option<Cell> {
        let (binary, op) = (self.binary, self.binary.op);
        let bool_of = |holds: bool| Some(Cell::Float(f64::from(u8::from(holds))));
        match (a, b) {
            (Cell::Float(a), Cell::Float(b)) => {
                if matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
                    self.incompatible("float", "float");
                    return None;
                }
                let result = floats(op, *a, *b);
                if binary.returns_bool { bool_of(result.is_some()) } else { result.map(Cell::Float) }
            }
            (Cell::Histogram(a), Cell::Histogram(b)) => {
                let holds = match op {
                    BinaryOp::Add | BinaryOp::Sub => return self.combined(a, b),
                    BinaryOp::Equal => a.same_observations(b),
                    BinaryOp::NotEqual => !a.same_observations(b),
                    _ => {
                        self.incompatible("histogram", "histogram");
                        return None;
                    }
                };
                if binary.returns_bool { bool_of(holds) } else { holds.then(|| Cell::Histogram(a.clone())) }
            }
            (Cell::Histogram(h), Cell::Float(f)) => {
                let mut result = (**h).clone();
                match op {
                    BinaryOp::Mul => result.scale(*f),
                    BinaryOp::Div => result.divide(*f),
                    BinaryOp::TrimUpper => result.trim(*f, true),
                    BinaryOp::TrimLower => result.trim(*f, false),
                    _ => {
                        self.incompatible("histogram", "float");
                        return None;
                    }
                }
                result.compact();
                Some(Cell::Histogram(result.into()))
            }
            (Cell::Float(f), Cell::Histogram(h)) => {
                if op != BinaryOp::Mul {
                    self.incompatible("float", "histogram");
                    return None;
                }
                let mut result = (**h).clone();
                result.scale(*f);
                result.compact();
                Some(Cell::Histogram(result.into()))
            }
        }
    }

    fn combined(&self, a: &Histogram, b: &Histogram) -> Option<Cell> {
        let op = self.binary.op;
        let mut result = a.clone();
        let (outcome, word) = if op == BinaryOp::Add { (result.add(b), "addition") } else { (result.sub(b), "subtraction") };
        let Ok(notes) = outcome else {
            self.warn(format!("incompatible bucket layout encountered for binary operator {}", op.as_str()));
            return None;
        };
        if notes.reconciled_bounds {
            self.info(format!("mismatched custom buckets were reconciled during {word}"));
        }
        if notes.conflicting_resets {
            self.warn(format!("conflicting counter resets during histogram {word}"));
        }
        if op == BinaryOp::Sub {
            result.hint = ResetHint::Gauge;
        }
        result.compact();
        Some(Cell::Histogram(result.into()))
    }
}

/// One match of two vectors. `many` is the side whose elements may share a partner (the left one, if neither may).
struct Join<'a> {
    evaluator: &'a Evaluator<'a>,
    elements: Elements<'a>,
    binary: &'a Binary,
    swapped: bool,
    many: &'a [Series],
    one: &'a [Series],
}

/// Positions of two that match; one of them may be filled in.
type Pair = (Option<usize>, Option<usize>);

/// Elements that are looked at between two looks at the clock.
const CHECKED_PAIRS: usize = 1 << 16;

/// A result series, and the steps at which an element fell on it.
struct Slot {
    series: Series,
    taken: Vec<bool>,
}

impl Join<'_> {
    fn run(&self, grid: Grid) -> Result<Vec<Series>> {
        let matching = &self.binary.matching;
        let mut by_signature: HashMap<Labels, (Vec<usize>, Vec<usize>)> = HashMap::new();
        for (at, series) in self.one.iter().enumerate() {
            by_signature.entry(matching.signature(&series.labels)).or_default().1.push(at);
        }
        let mut order = Vec::new();
        for (at, series) in self.many.iter().enumerate() {
            let signature = matching.signature(&series.labels);
            let group = by_signature.entry(signature.clone()).or_default();
            if group.0.is_empty() {
                order.push(signature);
            }
            group.0.push(at);
        }
        // What has no partner may be filled in, in the order of its side.
        order.extend(self.one.iter().enumerate().filter_map(|(at, series)| {
            let signature = matching.signature(&series.labels);
            let (many, one) = by_signature.get(&signature)?;
            (many.is_empty() && one.first() == Some(&at)).then_some(signature)
        }));
        let sides = self.steps_with_both(grid);
        let context = self.evaluator.storage.context();
        let mut slots: Vec<Slot> = Vec::new();
        let mut index: HashMap<Labels, usize> = HashMap::new();
        let mut unchecked = 0;
        for signature in order {
            context.check()?;
            let (many, one) = &by_signature[&signature];
            // Where the results of pairs go, so that labels are joined once a pair and not once a step.
            let mut places: HashMap<Pair, usize> = HashMap::new();
            for step in (0..grid.count).filter(|s| sides[*s]) {
                unchecked += 1 + many.len() + one.len();
                if unchecked > CHECKED_PAIRS {
                    context.check()?;
                    unchecked = 0;
                }
                self.step(step, &signature, many, one, &mut |pair, result| {
                    let at = match places.get(&pair) {
                        Some(at) => *at,
                        None => {
                            let labels = self.labels_of(pair, &signature);
                            let at = match index.get(&labels) {
                                Some(at) => *at,
                                None => {
                                    let bytes = size_of::<Slot>() + labels.heap_bytes() + 9 * grid.count;
                                    context.reserve(bytes as u64)?;
                                    index.insert(labels.clone(), slots.len());
                                    slots.push(Slot { series: Series::new(labels, grid.count), taken: vec![false; grid.count] });
                                    slots.len() - 1
                                }
                            };
                            context.reserve(size_of::<(Pair, usize)>() as u64)?;
                            places.insert(pair, at);
                            at
                        }
                    };
                    if slots[at].taken[step] {
                        return Err(self.ambiguous());
                    }
                    slots[at].taken[step] = true;
                    if let Some(cell) = result {
                        slots[at].series.set(step, cell);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(slots.into_iter().map(|s| s.series).filter(|s| !s.is_empty()).collect())
    }

    fn ambiguous(&self) -> QueryError {
        let message = match self.binary.matching.cardinality {
            Cardinality::OneToOne => "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
            _ => "multiple matches for labels: grouping labels must ensure unique matches",
        };
        QueryError::Execution(message.to_owned())
    }

    /// Steps at which both sides have elements, or one has and the other is filled in.
    fn steps_with_both(&self, grid: Grid) -> Vec<bool> {
        let filled = self.binary.fill_left.is_some() || self.binary.fill_right.is_some();
        let any = |side: &[Series], step: usize| side.iter().any(|s| s.has(step));
        (0..grid.count).map(|step| filled || (any(self.many, step) && any(self.one, step))).collect()
    }

    /// Fills for the many and the one side. `fill_left` is the many side's even where that stands on the right.
    fn fills(&self) -> (Option<f64>, Option<f64>) {
        (self.binary.fill_left, self.binary.fill_right)
    }

    fn step(
        &self,
        step: usize,
        signature: &Labels,
        many: &[usize],
        one: &[usize],
        emit: &mut dyn FnMut(Pair, Option<Cell>) -> Result<()>,
    ) -> Result<()> {
        let mut partners = one.iter().copied().filter(|at| self.one[*at].has(step));
        let partner = partners.next();
        if let (Some(first), Some(second)) = (partner, partners.next()) {
            return Err(self.duplicate(signature, &self.one[first].labels, &self.one[second].labels));
        }
        let (fill_many, fill_one) = self.fills();
        let present: Vec<usize> = many.iter().copied().filter(|at| self.many[*at].has(step)).collect();
        if self.binary.matching.cardinality == Cardinality::OneToOne && present.len() > 1 && (partner.is_some() || fill_one.is_some()) {
            return Err(self.ambiguous());
        }
        let partner_cell = partner.and_then(|at| self.one[at].get(step));
        for at in &present {
            let other = partner_cell.clone().or(fill_one.map(Cell::Float));
            let (Some(cell), Some(other)) = (self.many[*at].get(step), other) else { continue };
            emit((Some(*at), partner), self.apply(&cell, &other))?;
        }
        if present.is_empty()
            && let (Some(fill), Some(_), Some(cell)) = (fill_many, partner, partner_cell)
        {
            emit((None, partner), self.apply(&Cell::Float(fill), &cell))?;
        }
        Ok(())
    }

    fn apply(&self, many: &Cell, one: &Cell) -> Option<Cell> {
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        // A filter keeps the value of the left side, wherever the labels come from.
        self.elements.apply(left, right)
    }

    fn labels_of(&self, (many, one): Pair, signature: &Labels) -> Labels {
        let many = many.map_or(signature, |at| &self.many[at].labels);
        let one = one.map_or(signature, |at| &self.one[at].labels);
        let drops = Evaluator::drops_name(self.binary);
        let keep = !drops || self.evaluator.options.delayed_name_removal;
        let many = if keep { many.clone() } else { without_name(many) };
        // The name of a one-to-one match with `on` is dropped by the list of labels.
        self.binary.matching.result_labels(&many, one, keep)
    }

    fn duplicate(&self, signature: &Labels, first: &Labels, second: &Labels) -> QueryError {
        let side = if self.swapped { "left" } else { "right" };
        let mut pair = [first, second];
        pair.sort();
        QueryError::Execution(format!(
            "found duplicate series for the match group {signature} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
            pair[0], pair[1]
        ))
    }
}

/// `and`, `or`, `unless`: by signature, step by step.
fn set(context: &Context, binary: &Binary, mut left: Vec<Series>, mut right: Vec<Series>, grid: Grid) -> Result<Vec<Series>> {
    let mut numbers: HashMap<Labels, usize> = HashMap::new();
    let mut numbered = |side: &[Series]| -> Vec<usize> {
        let number = |s: &Series| {
            let next = numbers.len();
            *numbers.entry(binary.matching.signature(&s.labels)).or_insert(next)
        };
        side.iter().map(number).collect()
    };
    let (left_numbers, right_numbers) = (numbered(&left), numbered(&right));
    let keep = binary.op == BinaryOp::And;
    let mut present = vec![false; numbers.len()];
    for step in 0..grid.count {
        context.check()?;
        let (reference, reference_numbers, filtered, filtered_numbers) = match binary.op {
            BinaryOp::Or => (&left, &left_numbers, &mut right, &right_numbers),
            _ => (&right, &right_numbers, &mut left, &left_numbers),
        };
        present.fill(false);
        for (series, number) in reference.iter().zip(reference_numbers) {
            present[*number] |= series.has(step);
        }
        for (series, number) in filtered.iter_mut().zip(filtered_numbers) {
            if present[*number] != keep {
                series.clear(step);
            }
        }
    }
    if binary.op == BinaryOp::Or {
        left.extend(right);
    }
    left.retain(|s| !s.is_empty());
    Ok(left)
}
