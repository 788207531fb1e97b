use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use std::sync::Arc;

/// Gives every column a number that stays the same in all files of a signal, so that readers outside (Iceberg) can
/// follow a column by number. Numbers below 1000 are fixed by the specs; the others are handed out once per path.
pub trait FieldIds {
    /// The number of the column with this path, such as `spans/span.http.route`.
    fn field_id(&self, path: &str) -> Result<i32, String>;
}

/// `schema` with a number on every field, nested ones included, that does not have one. Texts are texts, whether they come
/// with a dictionary or not.
pub(super) fn numbered(table: &str, schema: &Schema, ids: &dyn FieldIds) -> Result<SchemaRef, ArrowError> {
    let fields: Fields = schema.fields().iter().map(|f| number(&format!("{table}/{}", f.name()), f, ids)).collect::<Result<_, _>>()?;
    Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

fn number(path: &str, field: &FieldRef, ids: &dyn FieldIds) -> Result<FieldRef, ArrowError> {
    let inner = |f: &FieldRef| number(&format!("{path}/{}", f.name()), f, ids);
    let data_type = match field.data_type() {
        DataType::List(f) => DataType::List(inner(f)?),
        DataType::Map(f, sorted) => DataType::Map(inner(f)?, *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect::<Result<_, _>>()?),
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        other => other.clone(),
    };
    let mut metadata = field.metadata().clone();
    if !metadata.contains_key(PARQUET_FIELD_ID_META_KEY) {
        metadata.insert(PARQUET_FIELD_ID_META_KEY.to_owned(), ids.field_id(path).map_err(ArrowError::SchemaError)?.to_string());
    }
    Ok(Arc::new(Field::new(field.name(), data_type, field.is_nullable()).with_metadata(metadata)))
}
