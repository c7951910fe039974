//! Ctrl-C: once asks to stop, twice ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::CliError;
use crate::exit_code;

/// Whether the user asked to stop. SIGTERM and SIGHUP count as Ctrl-C.
pub fn watch() -> Result<Arc<AtomicBool>, CliError> {
    let cancel = Arc::new(AtomicBool::new(false));
    let asked = cancel.clone();
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            // Workers notice that this process is gone and end.
            std::process::exit(i32::from(exit_code::CANCELLED));
        }
        eprintln!("stopping; once more ends at once");
    })
    .map_err(CliError::Interrupt)?;
    Ok(cancel)
}
