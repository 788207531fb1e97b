use super::TableWriter;
use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use proptest::prelude::*;
use std::sync::Arc;

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let list = DataType::List(Arc::new(Field::new("element", DataType::Int64, true)));
    let of = |name: &str, data_type: DataType| [true, false].map(|null| Field::new(format!("{name}{null}"), data_type.clone(), null));
    let fields = [
        of("text", DataType::Utf8),
        of("keys", DataType::Utf8),
        of("plain", DataType::Utf8),
        of("id", DataType::FixedSizeBinary(8)),
        of("int", DataType::Int64),
        of("small", DataType::Int32),
        of("delta", DataType::Int64),
        of("smalldelta", DataType::Int32),
        of("time", time),
        of("double", DataType::Float64),
        of("bool", DataType::Boolean),
        of("list", list),
    ];
    Arc::new(Schema::new(fields.into_iter().flatten().collect::<Vec<_>>()))
}

fn properties(page_rows: usize, group_rows: usize) -> WriterPropertiesBuilder {
    let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    let mut properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group_rows))
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(page_rows.min(1024))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(64))
        .set_column_bloom_filter_enabled(path("textfalse"), true)
        .set_column_bloom_filter_enabled(path("plaintrue"), true)
        .set_column_statistics_enabled(path("idtrue"), EnabledStatistics::None);
    for null in [true, false] {
        properties = properties.set_column_dictionary_enabled(path(&format!("plain{null}")), false);
        for name in ["delta", "smalldelta", "time"] {
            let path = path(&format!("{name}{null}"));
            properties =
                properties.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
    }
    properties
}

/// What a row is made of, in every column.
type Row = Option<(i64, String)>;

/// The columns, with texts as they are or with dictionaries where that is possible.
fn columns(rows: &[Row], dictionaries: bool) -> Vec<ArrayRef> {
    let fallback = (0, String::new());
    let all: Vec<&(i64, String)> = rows.iter().map(|row| row.as_ref().unwrap_or(&fallback)).collect();
    let id = |n: i64| n.to_be_bytes();
    let texts = || rows.iter().map(|r| r.as_ref().map(|r| r.1.as_str())).collect::<StringArray>();
    let all_texts = || all.iter().map(|r| Some(r.1.as_str())).collect::<StringArray>();
    let keyed = |texts: StringArray| -> ArrayRef {
        if dictionaries { Arc::new(texts.iter().collect::<DictionaryArray<Int32Type>>()) } else { Arc::new(texts) }
    };
    let list = |null: bool| {
        let mut lists = ListBuilder::new(Int64Builder::new()).with_field(Field::new("element", DataType::Int64, true));
        for row in rows {
            (0..row.as_ref().map_or(0, |r| r.0.rem_euclid(4))).for_each(|n| lists.values().append_option((n != 2).then_some(n)));
            lists.append(!null || row.is_some());
        }
        lists.finish()
    };
    let numbers = || rows.iter().map(|r| r.as_ref().map(|r| r.0));
    let all_numbers = || all.iter().map(|r| r.0);
    let optional_ids = rows.iter().map(|r| r.as_ref().map(|r| id(r.0)));
    vec![
        Arc::new(texts()),
        Arc::new(all_texts()),
        keyed(texts()),
        keyed(all_texts()),
        Arc::new(texts()),
        Arc::new(all_texts()),
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(optional_ids, 8).unwrap()),
        Arc::new(FixedSizeBinaryArray::try_from_iter(all_numbers().map(id)).unwrap()),
        Arc::new(numbers().collect::<Int64Array>()),
        Arc::new(all_numbers().map(Some).collect::<Int64Array>()),
        Arc::new(numbers().map(|n| n.map(|n| n as i32)).collect::<Int32Array>()),
        Arc::new(all_numbers().map(|n| Some(n as i32)).collect::<Int32Array>()),
        Arc::new(numbers().collect::<Int64Array>()),
        Arc::new(all_numbers().map(Some).collect::<Int64Array>()),
        Arc::new(numbers().map(|n| n.map(|n| n as i32)).collect::<Int32Array>()),
        Arc::new(all_numbers().map(|n| Some(n as i32)).collect::<Int32Array>()),
        Arc::new(numbers().collect::<TimestampNanosecondArray>().with_timezone("UTC")),
        Arc::new(all_numbers().map(Some).collect::<TimestampNanosecondArray>().with_timezone("UTC")),
        Arc::new(numbers().map(|n| n.map(|n| n as f64)).collect::<Float64Array>()),
        Arc::new(all_numbers().map(|n| Some(n as f64)).collect::<Float64Array>()),
        Arc::new(numbers().map(|n| n.map(|n| n % 2 == 0)).collect::<BooleanArray>()),
        Arc::new(all_numbers().map(|n| Some(n % 2 == 0)).collect::<BooleanArray>()),
        Arc::new(list(true)),
        Arc::new(list(false)),
    ]
}

fn footer(file: &Bytes) -> ArrowReaderMetadata {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    ArrowReaderMetadata::load(file, options).unwrap()
}

/// What a reader uses to pass over chunks and pages.
fn facts(metadata: &ParquetMetaData) -> Vec<String> {
    let (columns, offsets) = (metadata.column_index().unwrap(), metadata.offset_index().unwrap());
    let mut facts = Vec::new();
    for (number, group) in metadata.row_groups().iter().enumerate() {
        for (leaf, chunk) in group.columns().iter().enumerate() {
            // The `parquet` crate writes these in either file, and ends their pages by the batches that it gets.
            if ["list", "double", "bool"].iter().any(|name| chunk.column_path().parts()[0].starts_with(name)) {
                continue;
            }
            let of_chunk = chunk.statistics().map(|s| {
                let exact = (s.min_is_exact(), s.max_is_exact());
                (s.min_bytes_opt().map(<[u8]>::to_vec), s.max_bytes_opt().map(<[u8]>::to_vec), s.null_count_opt(), exact)
            });
            let pages: Vec<i64> = offsets[number][leaf].page_locations().iter().map(|page| page.first_row_index).collect();
            let index = format!("{:?}", columns[number][leaf]);
            // Both kinds of writers may keep how often each level is there, which nobody asks for.
            let (before, after) = index.split_once(", repetition_level_histograms").unwrap_or((&index, ""));
            let index = format!("{before}{}", after.split_once('}').map_or("", |(_, after)| after));
            let coded = chunk.page_encoding_stats_mask().copied();
            facts.push(format!("{number} {} {of_chunk:?} {pages:?} {index} {coded:?}", chunk.column_path()));
        }
    }
    facts
}

/// Writes the batches in both ways: all rows come back, and the footers say the same of them.
fn check(batches: &[Vec<Row>], page_rows: usize, group_rows: usize, compare: bool) -> Bytes {
    let schema = schema();
    let mut own = TableWriter::new(Vec::new(), &schema, properties(page_rows, group_rows), ZstdLevel::default()).unwrap();
    let theirs = properties(page_rows, group_rows).set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut theirs = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(theirs)).unwrap();
    let mut expected = Vec::new();
    for (number, rows) in batches.iter().enumerate() {
        own.write(&columns(rows, number % 2 == 0), rows.len()).unwrap();
        expected.push(RecordBatch::try_new(schema.clone(), columns(rows, false)).unwrap());
    }
    let one = |batches: &[RecordBatch]| arrow_select::concat::concat_batches(&schema, batches).unwrap();
    let expected = one(&expected);
    // Page by page, since it ends a page only behind what it is given at a time.
    let mut at = 0;
    while at < expected.num_rows() {
        let in_group = at % group_rows;
        let end = (at + page_rows - in_group % page_rows).min(at + group_rows - in_group).min(expected.num_rows());
        theirs.write(&expected.slice(at, end - at)).unwrap();
        at = end;
    }
    let (own, theirs) = (Bytes::from(own.into_inner().unwrap()), Bytes::from(theirs.into_inner().unwrap()));
    let metadata = footer(&own);
    assert_eq!(metadata.schema(), footer(&theirs).schema());
    if compare {
        assert_eq!(facts(metadata.metadata()), facts(footer(&theirs).metadata()));
    }
    let rows: usize = batches.iter().map(Vec::len).sum();
    let reader = ParquetRecordBatchReaderBuilder::try_new(own.clone()).unwrap().with_batch_size(rows.max(1)).build().unwrap();
    let read: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
    assert_eq!(one(&read).columns(), expected.columns());
    own
}

fn row() -> impl Strategy<Value = Row> {
    let number = prop_oneof![4 => -3i64..4, 1 => any::<i64>()];
    let text = prop_oneof![4 => "[ab]{0,2}", 1 => "\\PC{60,70}"];
    proptest::option::weighted(0.8, (number, text))
}

/// Runs of equal rows.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let run = (row(), prop_oneof![Just(1usize), 1..50usize]);
    proptest::collection::vec(run, 1..12).prop_map(|runs| runs.into_iter().flat_map(|(row, n)| std::iter::repeat_n(row, n)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn files_say_what_those_of_the_parquet_crate_say(
        batches in proptest::collection::vec(rows(), 1..4), page_rows in 1usize..40, group_rows in 1usize..300,
    ) {
        check(&batches, page_rows, group_rows, true);
    }
}

#[test]
fn a_full_dictionary_gives_way_to_plain_values() {
    let row = |n: i64| (n % 20 != 0).then(|| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()), format!("{n:040}")));
    let batches: Vec<Vec<Row>> = (0..4).map(|batch| (0..8_192).map(|n| row(batch * 8_192 + n)).collect()).collect();
    let file = check(&batches, 8_192, 1 << 20, false);
    let metadata = footer(&file);
    let group = metadata.metadata().row_group(0);
    let coded = |leaf: usize| group.column(leaf).page_encoding_stats_mask().unwrap().is_only(Encoding::RLE_DICTIONARY);
    assert!((0..4).all(|leaf| !coded(leaf)), "texts");
    assert!(coded(8) && coded(9), "numbers have room");
    assert_eq!(group.column(7).compression(), Compression::UNCOMPRESSED, "ids do not shrink");
}

#[test]
fn numbers_that_hardly_repeat_are_plain_in_the_end() {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let mut writer = TableWriter::new(Vec::new(), &schema, properties(8_192, 1 << 20), ZstdLevel::default()).unwrap();
    let numbers: ArrayRef = Arc::new((0..140_000).map(Some).collect::<Int64Array>());
    writer.write(std::slice::from_ref(&numbers), numbers.len()).unwrap();
    let file = Bytes::from(writer.into_inner().unwrap());
    let mask = *footer(&file).metadata().row_group(0).column(0).page_encoding_stats_mask().unwrap();
    assert!(mask.is_set(Encoding::RLE_DICTIONARY) && mask.is_set(Encoding::PLAIN));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(numbers.len()).build().unwrap();
    let read: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
    assert_eq!(read[0].column(0), &numbers);
}

#[test]
fn what_does_not_fit_is_refused() {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let mut writer = TableWriter::new(Vec::new(), &schema, properties(10, 10), ZstdLevel::default()).unwrap();
    assert!(writer.write(&[Arc::new(Int64Array::from(vec![None, Some(1)]))], 2).is_err());
    assert!(writer.write(&[Arc::new(Int32Array::from(vec![1]))], 1).is_err());
    assert!(writer.write(&[Arc::new(Int64Array::from(vec![1]))], 2).is_err());
    assert!(writer.write(&[], 0).is_err());
}
