//! Rows of Arrow record batches as JSON.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowTimestampType, Float16Type, Float32Type, Float64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, GenericListArray, OffsetSizeTrait, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType, Schema, TimeUnit};

use super::csv::write_string;

/// The deepest nesting of a type.
const MAX_DEPTH: usize = 64;

/// Writes the rows of batches of one schema.
pub(super) struct Columns {
    /// The names of the columns.
    names: Vec<String>,
}

impl Columns {
    pub(super) fn new(schema: &Schema) -> Self {
        Self { names: schema.fields().iter().map(|field| field.name().clone()).collect() }
    }

    /// Appends row `row` of a batch as an object.
    ///
    /// # Errors
    /// A value of a type that has no JSON.
    pub(super) fn write(
        &self,
        json: &mut Vec<u8>,
        batch: &RecordBatch,
        row: usize,
    ) -> Result<(), ArrowError> {
        write_object(json, self.names.iter().map(String::as_str).zip(batch.columns()), row, 0)
    }
}

fn write_object<'a>(
    json: &mut Vec<u8>,
    fields: impl Iterator<Item = (&'a str, &'a ArrayRef)>,
    row: usize,
    depth: usize,
) -> Result<(), ArrowError> {
    json.push(b'{');
    for (index, (name, column)) in fields.enumerate() {
        if index > 0 {
            json.extend_from_slice(b", ");
        }
        write_string(json, name.as_bytes());
        json.extend_from_slice(b": ");
        write_value(json, column, row, depth + 1)?;
    }
    json.push(b'}');
    Ok(())
}

fn write_list(json: &mut Vec<u8>, values: &dyn Array, depth: usize) -> Result<(), ArrowError> {
    json.push(b'[');
    for index in 0..values.len() {
        if index > 0 {
            json.extend_from_slice(b", ");
        }
        write_value(json, values, index, depth + 1)?;
    }
    json.push(b']');
    Ok(())
}

fn write_offsets<O: OffsetSizeTrait>(
    json: &mut Vec<u8>,
    list: &GenericListArray<O>,
    row: usize,
    depth: usize,
) -> Result<(), ArrowError> {
    write_list(json, &list.value(row), depth)
}

/// Appends one value of a column.
fn write_value(
    json: &mut Vec<u8>,
    column: &dyn Array,
    row: usize,
    depth: usize,
) -> Result<(), ArrowError> {
    if depth > MAX_DEPTH {
        return Err(ArrowError::NotYetImplemented("a column with more than 64 levels".into()));
    }
    if column.is_null(row) {
        json.extend_from_slice(b"null");
        return Ok(());
    }
    match column.data_type() {
        DataType::Null => json.extend_from_slice(b"null"),
        DataType::Utf8 => write_string(json, column.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => write_string(json, column.as_string::<i64>().value(row).as_bytes()),
        DataType::Utf8View => write_string(json, column.as_string_view().value(row).as_bytes()),
        DataType::Binary => write_string(json, column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => write_string(json, column.as_binary::<i64>().value(row)),
        DataType::BinaryView => write_string(json, column.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => {
            write_string(json, column.as_fixed_size_binary().value(row));
        }
        DataType::Struct(fields) => {
            let names = fields.iter().map(|field| field.name().as_str());
            write_object(json, names.zip(column.as_struct().columns()), row, depth)?;
        }
        DataType::List(_) => write_offsets(json, column.as_list::<i32>(), row, depth)?,
        DataType::LargeList(_) => write_offsets(json, column.as_list::<i64>(), row, depth)?,
        DataType::ListView(_) => {
            write_list(json, &column.as_list_view::<i32>().value(row), depth)?;
        }
        DataType::LargeListView(_) => {
            write_list(json, &column.as_list_view::<i64>().value(row), depth)?;
        }
        DataType::FixedSizeList(..) => {
            write_list(json, &column.as_fixed_size_list().value(row), depth)?;
        }
        DataType::Map(..) => write_map(json, column, row, depth)?,
        DataType::Dictionary(..) => {
            let cell = column.slice(row, 1);
            let cell = cell.as_any_dictionary();
            write_value(json, cell.values(), cell.normalized_keys()[0], depth + 1)?;
        }
        DataType::Float16 => {
            write_float(json, column.as_primitive::<Float16Type>().value(row).to_f64());
        }
        DataType::Float32 => {
            write_float(json, column.as_primitive::<Float32Type>().value(row).into());
        }
        DataType::Float64 => write_float(json, column.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(unit, Some(_)) => {
            let moment = in_utc(&column.slice(row, 1), *unit);
            write_other(json, &moment, 0, moment.data_type())?;
        }
        other => write_other(json, column, row, other)?,
    }
    Ok(())
}

/// Moments of any time zone in UTC, in which they are stored.
fn in_utc(column: &dyn Array, unit: TimeUnit) -> ArrayRef {
    fn moved<T: ArrowTimestampType>(column: &dyn Array) -> ArrayRef {
        Arc::new(column.as_primitive::<T>().clone().with_timezone_utc())
    }
    match unit {
        TimeUnit::Second => moved::<TimestampSecondType>(column),
        TimeUnit::Millisecond => moved::<TimestampMillisecondType>(column),
        TimeUnit::Microsecond => moved::<TimestampMicrosecondType>(column),
        TimeUnit::Nanosecond => moved::<TimestampNanosecondType>(column),
    }
}

/// Appends a map as an object.
fn write_map(
    json: &mut Vec<u8>,
    column: &dyn Array,
    row: usize,
    depth: usize,
) -> Result<(), ArrowError> {
    let entries = column.as_map().value(row);
    let (keys, values) = (entries.column(0), entries.column(1));
    json.push(b'{');
    for index in 0..entries.len() {
        if index > 0 {
            json.extend_from_slice(b", ");
        }
        let key = ArrayFormatter::try_new(keys, &FormatOptions::default())?;
        write_string(json, key.value(index).try_to_string()?.as_bytes());
        json.extend_from_slice(b": ");
        write_value(json, values, index, depth + 1)?;
    }
    json.push(b'}');
    Ok(())
}

fn write_float(json: &mut Vec<u8>, value: f64) {
    match serde_json::Number::from_f64(value) {
        Some(number) => json.extend_from_slice(number.to_string().as_bytes()),
        None => json.extend_from_slice(b"null"), // NaN and the infinities, as other programs write them
    }
}

/// Appends a number, a truth value, or what Arrow writes of times and decimals.
fn write_other(
    json: &mut Vec<u8>,
    column: &dyn Array,
    row: usize,
    data_type: &DataType,
) -> Result<(), ArrowError> {
    let format = ArrayFormatter::try_new(column, &FormatOptions::default())?;
    let text = format.value(row).try_to_string()?;
    if data_type.is_integer() || *data_type == DataType::Boolean {
        json.extend_from_slice(text.as_bytes());
    } else {
        write_string(json, text.as_bytes());
    }
    Ok(())
}
