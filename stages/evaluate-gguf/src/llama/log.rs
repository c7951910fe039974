//! llama.cpp's log: forwarded to `tracing`, and its complaints kept for the next error message.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use llama_cpp_sys_2 as ffi;

/// A refused file yields a handful of lines; more would bury the first cause.
const KEPT: usize = 12;

struct Lines {
    complaints: VecDeque<String>,
    /// The level of the line that continuations belong to.
    level: ffi::ggml_log_level,
}

static LINES: Mutex<Lines> = Mutex::new(Lines { complaints: VecDeque::new(), level: ffi::GGML_LOG_LEVEL_NONE });

fn lines() -> MutexGuard<'static, Lines> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends every later line through this module instead of to stderr.
pub(super) fn install() {
    // SAFETY: the callback is a plain function that lives as long as the library and uses no user data.
    unsafe { ffi::llama_log_set(Some(receive), std::ptr::null_mut()) }
}

/// The warnings and errors since the last call, oldest first.
pub(super) fn take_complaints() -> Vec<String> {
    lines().complaints.drain(..).collect()
}

unsafe extern "C" fn receive(level: ffi::ggml_log_level, text: *const c_char, _user_data: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a zero-terminated string that is valid during the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let text = text.trim_end();
    let mut lines = lines();
    if level != ffi::GGML_LOG_LEVEL_CONT {
        lines.level = level;
    }
    let level = lines.level;
    if text.is_empty() || text.chars().all(|c| c == '.') {
        return; // the dots of its progress bar
    }
    if level == ffi::GGML_LOG_LEVEL_WARN || level == ffi::GGML_LOG_LEVEL_ERROR {
        if lines.complaints.len() == KEPT {
            lines.complaints.pop_front();
        }
        lines.complaints.push_back(text.to_owned());
    }
    drop(lines);
    match level {
        ffi::GGML_LOG_LEVEL_ERROR => tracing::warn!(target: "llama.cpp", "{text}"),
        ffi::GGML_LOG_LEVEL_WARN => tracing::info!(target: "llama.cpp", "{text}"),
        _ => tracing::debug!(target: "llama.cpp", "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_kept_and_progress_is_not() {
        let say = |level, text: &CStr| {
            // SAFETY: a valid C string, no user data.
            unsafe { receive(level, text.as_ptr(), std::ptr::null_mut()) }
        };
        take_complaints();
        say(ffi::GGML_LOG_LEVEL_INFO, c"n_layer = 30\n");
        say(ffi::GGML_LOG_LEVEL_CONT, c"....");
        say(ffi::GGML_LOG_LEVEL_ERROR, c"error loading model: bad magic\n");
        say(ffi::GGML_LOG_LEVEL_CONT, c"and more\n");
        assert_eq!(take_complaints(), ["error loading model: bad magic", "and more"]);
        assert!(take_complaints().is_empty());
    }
}
