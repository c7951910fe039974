//! What stages made, kept by key; what files hold, remembered by identity.

mod digest;
mod reference;
mod slot;
mod store;

pub use digest::{ContentError, DigestMemory};
pub use reference::changed_file;
pub use slot::{Slot, SlotLock};
pub use store::{Store, StoreError, StoredKey};
