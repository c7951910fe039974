//! What a model is, as data: stored types, architecture, inventory, expressions.

pub mod stored_type;

pub use stored_type::StoredType;
