//! What a model is, as data: stored types, architecture, inventory, expressions, descriptions.
//!
//! A family plugin turns a configuration into an [`Architecture`] (what the network computes) and an [`Inventory`]
//! (every tensor, and how each dialect spells it). Checking, loading, memory math, LoRA targets, fusing and converting
//! are walks over these. This crate knows no family and reads no file.

#![warn(missing_docs)]

pub mod adapter;
pub mod architecture;
pub mod description;
pub mod expr;
pub mod group_affine;
pub mod inventory;
pub mod python_json;
pub mod row_map;
pub mod stored_type;

pub use adapter::AdapterDescription;
pub use architecture::Architecture;
pub use description::ModelDescription;
pub use expr::Expr;
pub use group_affine::GroupAffine;
pub use inventory::Inventory;
pub use row_map::RowMap;
pub use stored_type::StoredType;
