use crate::model::AttributeValue;
use crate::traces::columns::typed_json;
use crate::traces::traceql::eval::Value;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, StringArray};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// The values of one field in the rows of a segment.
#[derive(Debug, Default)]
pub struct Column {
    /// For each piece of the segment, its layers: the first that has a value for a row gives it.
    pub pieces: Vec<Vec<Layer>>,
}

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Int,
    Status,
    Kind,
}

/// Values of some of the rows of a piece.
#[derive(Debug)]
pub enum Layer {
    Text {
        keys: Int32Array,
        values: StringArray,
    },
    Int(Int64Array),
    Double(Float64Array),
    Bool(BooleanArray),
    /// Nanoseconds; a negative one counts as none.
    Duration(Int64Array),
    Small(Int32Array, Word),
    /// An id in hex, empty where there is none.
    Id(FixedSizeBinaryArray),
    /// By row, ascending.
    Rest(Vec<(u32, Value<'static>)>),
    /// One value for all rows of a trace.
    Traces {
        values: Vec<Value<'static>>,
        bounds: Vec<Range<usize>>,
    },
}

impl Column {
    pub fn value(&self, piece: usize, row: usize) -> Value<'_> {
        self.pieces.get(piece).into_iter().flatten().find_map(|layer| layer.value(row)).unwrap_or(Value::Nil)
    }
}

/// The values of a field in a piece, each once, and which of them each row has.
pub struct Codes<'a> {
    pub values: Vec<Value<'a>>,
    pub codes: RowCodes<'a>,
}

pub enum RowCodes<'a> {
    /// Nulls have the code after the last.
    Keys(&'a Int32Array, u32),
    Own(Vec<u32>),
}

impl RowCodes<'_> {
    pub fn each(&self, mut each: impl FnMut(usize, u32)) {
        match self {
            RowCodes::Keys(keys, _) if keys.null_count() == 0 => {
                keys.values().iter().enumerate().for_each(|(row, code)| each(row, code.cast_unsigned()));
            }
            RowCodes::Keys(keys, null) => {
                keys.iter().enumerate().for_each(|(row, code)| each(row, code.map_or(*null, i32::cast_unsigned)));
            }
            RowCodes::Own(codes) => codes.iter().enumerate().for_each(|(row, code)| each(row, *code)),
        }
    }

    pub fn at(&self, row: usize) -> u32 {
        match self {
            RowCodes::Keys(keys, null) => {
                if keys.is_valid(row) {
                    keys.value(row).cast_unsigned()
                } else {
                    *null
                }
            }
            RowCodes::Own(codes) => codes[row],
        }
    }
}

/// Whole numbers of a piece.
pub struct Integers<'a> {
    array: &'a Int64Array,
    durations: bool,
}

impl Integers<'_> {
    pub fn at(&self, row: usize) -> Option<Value<'static>> {
        if self.durations {
            return Some(Value::Duration(self.array.value(row).max(0)));
        }
        self.array.is_valid(row).then(|| Value::Int(self.array.value(row)))
    }
}

impl Column {
    /// If there is no other value in the piece.
    pub fn integers(&self, piece: usize) -> Option<Integers<'_>> {
        match self.pieces.get(piece).map(Vec::as_slice) {
            Some([Layer::Duration(array)]) => Some(Integers { array, durations: true }),
            Some([Layer::Int(array)]) => Some(Integers { array, durations: false }),
            _ => None,
        }
    }

    /// The numbers of an intrinsic in a piece.
    pub fn small(&self, piece: usize) -> &[i32] {
        match self.pieces.get(piece).map(Vec::as_slice) {
            Some([Layer::Small(array, _)]) => array.values(),
            _ => &[],
        }
    }

    /// Of the rows in `mask`; the codes of others mean nothing.
    pub fn codes(&self, piece: usize, mask: &[bool]) -> Codes<'_> {
        if let Some([Layer::Text { keys, values }]) = self.pieces.get(piece).map(Vec::as_slice) {
            let mut texts: Vec<Value<'_>> = values.iter().map(|v| v.map_or(Value::Nil, |v| Value::String(v.into()))).collect();
            texts.push(Value::Nil);
            let null = u32::try_from(values.len()).unwrap_or(u32::MAX);
            return Codes { values: texts, codes: RowCodes::Keys(keys, null) };
        }
        if let Some([Layer::Small(array, word)]) = self.pieces.get(piece).map(Vec::as_slice)
            && let Some(codes) = few_numbers(array, *word)
        {
            return codes;
        }
        let mut known: HashMap<String, u32> = HashMap::new();
        let mut small: HashMap<i64, u32> = HashMap::new();
        let (mut values, mut codes) = (Vec::new(), vec![0; mask.len()]);
        for (row, code) in codes.iter_mut().enumerate().filter(|(row, _)| mask[*row]) {
            let value = self.value(piece, row);
            let next = u32::try_from(values.len()).unwrap_or(u32::MAX);
            // One layer has values of one type, so that its numbers need no text to be told apart.
            let number = match (&value, self.pieces[piece].len()) {
                (Value::Int(n) | Value::Duration(n), 1) => Some(*n),
                (Value::Status(n) | Value::Kind(n), 1) => Some(i64::from(*n)),
                _ => None,
            };
            *code = match number {
                Some(number) if !matches!(self.pieces[piece][0], Layer::Rest(_) | Layer::Traces { .. }) => {
                    *small.entry(number).or_insert(next)
                }
                _ => *known.entry(value.key()).or_insert(next),
            };
            if *code == next {
                values.push(value);
            }
        }
        Codes { values, codes: RowCodes::Own(codes) }
    }
}

impl Layer {
    /// A typed column; `None` for a type that no column of an attribute has.
    pub fn of_array(array: &ArrayRef) -> Option<Layer> {
        if let Some(dictionary) = array.as_dictionary_opt::<Int32Type>() {
            return Some(Layer::Text { keys: dictionary.keys().clone(), values: dictionary.values().as_string_opt()?.clone() });
        }
        if let Some(texts) = array.as_string_opt::<i32>() {
            return Some(coded(texts));
        }
        if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
            return Some(Layer::Int(numbers.clone()));
        }
        if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
            return Some(Layer::Double(numbers.clone()));
        }
        array.as_boolean_opt().map(|flags| Layer::Bool(flags.clone()))
    }

    /// The values of one key in a rest map: of each row, the first.
    pub fn of_rest(array: &ArrayRef, key: &str) -> Option<Layer> {
        let map = array.as_map_opt()?;
        let (keys, texts) = (map.keys().as_string_opt::<i32>()?, map.values().as_string_opt::<i32>()?);
        let mut values = Vec::new();
        for (row, entries) in (0u32..).zip(map.value_offsets().windows(2)) {
            let first = (entries[0] as usize..entries[1] as usize).find(|e| keys.value(*e) == key);
            let Some(entry) = first else { continue };
            let value = typed_json::read(texts.value(entry)).map_or(AttributeValue::Empty, AttributeValue::from);
            match Value::of_attribute(&value).into_owned() {
                Value::Nil => {}
                value => values.push((row, value)),
            }
        }
        Some(Layer::Rest(values))
    }

    /// `None` where another layer may have one.
    pub fn value(&self, row: usize) -> Option<Value<'_>> {
        match self {
            Layer::Text { keys, values } => {
                keys.is_valid(row).then(|| Value::String(Cow::Borrowed(values.value(keys.value(row) as usize))))
            }
            Layer::Int(array) => array.is_valid(row).then(|| Value::Int(array.value(row))),
            Layer::Double(array) => array.is_valid(row).then(|| Value::Float(array.value(row))),
            Layer::Bool(array) => array.is_valid(row).then(|| Value::Bool(array.value(row))),
            Layer::Duration(array) => Some(Value::Duration(array.value(row).max(0))),
            Layer::Small(array, word) => Some(word.value(array.value(row))),
            Layer::Id(array) => Some(Value::String(Cow::Owned(if array.is_valid(row) { hex(array.value(row)) } else { String::new() }))),
            Layer::Rest(values) => {
                let at = values.binary_search_by_key(&row, |(r, _)| *r as usize).ok()?;
                Some(values[at].1.clone())
            }
            Layer::Traces { values, bounds } => {
                let at = bounds.partition_point(|rows| rows.end <= row);
                values.get(at).cloned()
            }
        }
    }
}

/// Numbers below this are their own codes.
const FEW: i32 = 16;

fn few_numbers(array: &Int32Array, word: Word) -> Option<Codes<'static>> {
    if !array.values().iter().all(|n| (0..FEW).contains(n)) {
        return None;
    }
    let codes = array.values().iter().map(|n| n.cast_unsigned()).collect();
    Some(Codes { values: (0..FEW).map(|n| word.value(n)).collect(), codes: RowCodes::Own(codes) })
}

impl Word {
    fn value(self, number: i32) -> Value<'static> {
        match self {
            Word::Int => Value::Int(i64::from(number)),
            Word::Status => Value::Status(number),
            Word::Kind => Value::Kind(number),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    crate::model::SpanId::from_slice(bytes).map_or_else(String::new, crate::model::SpanId::to_hex)
}

/// Texts that do not come as a dictionary.
fn coded(texts: &StringArray) -> Layer {
    let mut codes: HashMap<&str, i32> = HashMap::new();
    let mut values: Vec<&str> = Vec::new();
    let keys: Int32Array = texts
        .iter()
        .map(|text| {
            text.map(|text| {
                *codes.entry(text).or_insert_with(|| {
                    values.push(text);
                    i32::try_from(values.len() - 1).unwrap_or(i32::MAX)
                })
            })
        })
        .collect();
    Layer::Text { keys, values: values.into_iter().map(Some).collect() }
}
