//! The bookkeeping that every streaming writer needs: tensors come in the planned order and are exactly as long as planned.

use std::collections::BTreeSet;

use model::StoredType;
use model::description::StoredTensor;

use crate::tensor::{byte_len, columns};

/// A write that does not follow the plan.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OrderError {
    /// A shape that its type cannot hold.
    #[error("tensor `{name}`: rows of {columns} values fill no whole blocks of `{stored_type}`, or its size overflows")]
    Unrepresentable {
        /// The tensor.
        name: String,
        /// Its planned type.
        stored_type: StoredType,
        /// Values in a row.
        columns: u64,
    },
    /// The same name twice in the plan.
    #[error("tensor `{name}` is planned twice")]
    Duplicate {
        /// The tensor.
        name: String,
    },
    /// Bytes for another tensor than the one whose turn it is.
    #[error(
        "bytes of tensor `{got}` while `{expected}` still needs {missing} bytes; tensors are written in the planned order"
    )]
    OutOfOrder {
        /// The tensor that was written to.
        got: String,
        /// The tensor whose turn it is.
        expected: String,
        /// Bytes that it still needs.
        missing: u64,
    },
    /// More bytes than the tensor holds.
    #[error("tensor `{name}` gets {got} bytes but has room for {room}")]
    TooLong {
        /// The tensor.
        name: String,
        /// Bytes of this write.
        got: u64,
        /// Bytes that were left.
        room: u64,
    },
    /// Bytes after the last tensor was complete.
    #[error("bytes of tensor `{name}`, which is complete or was not planned")]
    NotPlanned {
        /// The tensor that was written to.
        name: String,
    },
    /// Finished too early.
    #[error("finished while tensor `{name}` still needs {missing} bytes")]
    Short {
        /// The first incomplete tensor.
        name: String,
        /// Bytes that it still needs.
        missing: u64,
    },
}

/// Planned tensors with their bytes, and how far the writer has come.
#[derive(Debug)]
pub(crate) struct WriteOrder {
    tensors: Vec<(String, u64)>,
    current: usize,
    written: u64,
}

impl WriteOrder {
    /// Checks the plan: every tensor representable, every name once.
    pub(crate) fn new(tensors: &[StoredTensor]) -> Result<Self, OrderError> {
        let mut seen = BTreeSet::new();
        let mut planned = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let bytes = byte_len(tensor).ok_or_else(|| OrderError::Unrepresentable {
                name: tensor.name.clone(),
                stored_type: tensor.stored_type,
                columns: columns(tensor),
            })?;
            if !seen.insert(&tensor.name) {
                return Err(OrderError::Duplicate { name: tensor.name.clone() });
            }
            planned.push((tensor.name.clone(), bytes));
        }
        let mut order = Self { tensors: planned, current: 0, written: 0 };
        order.skip_complete();
        Ok(order)
    }

    /// Accounts for `len` bytes of tensor `name`; `true` where they complete it.
    pub(crate) fn advance(&mut self, name: &str, len: u64) -> Result<bool, OrderError> {
        if len == 0 {
            return Ok(false);
        }
        let Some((expected, bytes)) = self.tensors.get(self.current) else {
            return Err(OrderError::NotPlanned { name: name.to_owned() });
        };
        let room = bytes - self.written;
        if expected != name {
            return Err(OrderError::OutOfOrder { got: name.to_owned(), expected: expected.clone(), missing: room });
        }
        if len > room {
            return Err(OrderError::TooLong { name: name.to_owned(), got: len, room });
        }
        self.written += len;
        let complete = len == room;
        self.skip_complete();
        Ok(complete)
    }

    /// Whether every tensor has all its bytes.
    pub(crate) fn check_complete(&self) -> Result<(), OrderError> {
        match self.tensors.get(self.current) {
            None => Ok(()),
            Some((name, bytes)) => Err(OrderError::Short { name: name.clone(), missing: bytes - self.written }),
        }
    }

    /// Moves on to the next tensor that needs bytes; empty ones need none.
    fn skip_complete(&mut self) {
        while self.tensors.get(self.current).is_some_and(|(_, bytes)| *bytes == self.written) {
            self.current += 1;
            self.written = 0;
        }
    }
}
