//! The decoded values of one column of one row group, some rows at a time.

use parquet::basic::Type;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{
    BoolType, ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType, Int32Type, Int64Type, Int96,
    Int96Type,
};
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnDescPtr;

use crate::records::rows::chunk::Chunk;
use crate::records::rows::input::RowsError;

/// A column, and its values in the current rows.
pub(super) struct Column {
    pub(super) chunk: Chunk,
    decoder: Decoder,
    max_def: i16,
    max_rep: i16,
    defs: Vec<i16>,
    reps: Vec<i16>,
    /// Levels in the current rows. A column without levels counts its values instead.
    entries: usize,
    /// Indexes of the next level and of the next value.
    entry: usize,
    value: usize,
}

/// Values of one physical type.
struct Typed<T: DataType> {
    reader: ColumnReaderImpl<T>,
    values: Vec<T::T>,
}

enum Decoder {
    Bool(Typed<BoolType>),
    Int32(Typed<Int32Type>),
    Int64(Typed<Int64Type>),
    Int96(Typed<Int96Type>),
    Float(Typed<FloatType>),
    Double(Typed<DoubleType>),
    Bytes(Typed<ByteArrayType>),
    Fixed(Typed<FixedLenByteArrayType>),
}

/// One value in its physical type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stored<'a> {
    Bool(bool),
    Int32(i32),
    Int64(i64),
    Int96(&'a Int96),
    Float(f32),
    Double(f64),
    Bytes(&'a [u8]),
}

impl<T: DataType> Typed<T> {
    fn new(descr: &ColumnDescPtr, chunk: &Chunk) -> Self {
        Self { reader: ColumnReaderImpl::new(descr.clone(), Box::new(chunk.pages())), values: Vec::new() }
    }

    fn read(
        &mut self,
        rows: usize,
        defs: &mut Vec<i16>,
        reps: &mut Vec<i16>,
    ) -> Result<(usize, usize, usize), ParquetError> {
        self.values.clear();
        self.reader.read_records(rows, Some(defs), Some(reps), &mut self.values)
    }
}

impl Column {
    pub(super) fn new(descr: &ColumnDescPtr, chunk: Chunk) -> Self {
        let decoder = match descr.physical_type() {
            Type::BOOLEAN => Decoder::Bool(Typed::new(descr, &chunk)),
            Type::INT32 => Decoder::Int32(Typed::new(descr, &chunk)),
            Type::INT64 => Decoder::Int64(Typed::new(descr, &chunk)),
            Type::INT96 => Decoder::Int96(Typed::new(descr, &chunk)),
            Type::FLOAT => Decoder::Float(Typed::new(descr, &chunk)),
            Type::DOUBLE => Decoder::Double(Typed::new(descr, &chunk)),
            Type::BYTE_ARRAY => Decoder::Bytes(Typed::new(descr, &chunk)),
            Type::FIXED_LEN_BYTE_ARRAY => Decoder::Fixed(Typed::new(descr, &chunk)),
        };
        Self {
            chunk,
            decoder,
            max_def: descr.max_def_level(),
            max_rep: descr.max_rep_level(),
            defs: Vec::new(),
            reps: Vec::new(),
            entries: 0,
            entry: 0,
            value: 0,
        }
    }

    /// Decodes the next `rows` rows, whose pages were passed to the decoder.
    pub(super) fn read(&mut self, rows: usize) -> Result<(), RowsError> {
        let (defs, reps) = (&mut self.defs, &mut self.reps);
        defs.clear();
        reps.clear();
        let read = match &mut self.decoder {
            Decoder::Bool(typed) => typed.read(rows, defs, reps),
            Decoder::Int32(typed) => typed.read(rows, defs, reps),
            Decoder::Int64(typed) => typed.read(rows, defs, reps),
            Decoder::Int96(typed) => typed.read(rows, defs, reps),
            Decoder::Float(typed) => typed.read(rows, defs, reps),
            Decoder::Double(typed) => typed.read(rows, defs, reps),
            Decoder::Bytes(typed) => typed.read(rows, defs, reps),
            Decoder::Fixed(typed) => typed.read(rows, defs, reps),
        };
        let (records, _, levels) = read.map_err(|error| self.chunk.damaged(&format!("cannot be decoded: {error}")))?;
        if records != rows {
            return Err(self.chunk.damaged("has fewer values than rows"));
        }
        self.chunk.consume(levels as u64);
        (self.entries, self.entry, self.value) = (levels, 0, 0);
        Ok(())
    }

    /// Fails if the column has more values than the rows that were read.
    pub(super) fn end(&self) -> Result<(), RowsError> {
        if self.chunk.has_left() { Err(self.chunk.damaged("has more values than rows")) } else { Ok(()) }
    }

    /// The definition level of the next value; `None` at the end of the current rows.
    #[inline]
    pub(super) fn def(&self) -> Option<i16> {
        if self.max_def == 0 {
            return (self.entry < self.entries).then_some(0);
        }
        self.defs.get(self.entry).copied()
    }

    /// The repetition level of the next value. 0 at the beginning of a row and at the end of the current rows.
    pub(super) fn rep(&self) -> i16 {
        if self.max_rep == 0 { 0 } else { self.reps.get(self.entry).copied().unwrap_or(0) }
    }

    /// Whether the next entry has a value. If not, it is null, or a group or list around it is null or empty.
    #[inline]
    pub(super) fn is_present(&self) -> bool {
        self.def() == Some(self.max_def)
    }

    /// The next value in memory. It belongs to the next entry only if [`Column::is_present`].
    #[inline]
    pub(super) fn peek(&self) -> Option<Stored<'_>> {
        let at = self.value;
        Some(match &self.decoder {
            Decoder::Bool(typed) => Stored::Bool(*typed.values.get(at)?),
            Decoder::Int32(typed) => Stored::Int32(*typed.values.get(at)?),
            Decoder::Int64(typed) => Stored::Int64(*typed.values.get(at)?),
            Decoder::Int96(typed) => Stored::Int96(typed.values.get(at)?),
            Decoder::Float(typed) => Stored::Float(*typed.values.get(at)?),
            Decoder::Double(typed) => Stored::Double(*typed.values.get(at)?),
            Decoder::Bytes(typed) => Stored::Bytes(typed.values.get(at)?.data()),
            Decoder::Fixed(typed) => Stored::Bytes(typed.values.get(at)?.data()),
        })
    }

    /// Steps over the next entry, and its value if it has one.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.value += usize::from(self.is_present());
        self.entry += 1;
    }

    /// Bytes of all texts in the current rows.
    pub(super) fn text_bytes(&self) -> u64 {
        match &self.decoder {
            Decoder::Bytes(typed) => typed.values.iter().map(|value| value.len() as u64).sum(),
            Decoder::Fixed(typed) => typed.values.iter().map(|value| value.len() as u64).sum(),
            _ => 0,
        }
    }
}
