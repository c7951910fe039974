//! Typed errors of the shared crates as errors that cross the plugin boundary.

/// Turns a typed error with its sources into data, under a stable code.
pub fn stage_error<E: std::error::Error>(code: &'static str) -> impl Fn(E) -> stage_api::Error {
    move |error| stage_api::Error::from_source(code, &error)
}
