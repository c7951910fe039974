//! Panics become errors inside the plugin: one that reached the border would end the process with code 1.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{AbiError, AbiResult};

thread_local! {
    /// Where this thread last panicked. The hook knows the place, the payload does not.
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `body` and turns a panic into an error with the code [`AbiError::PANIC`] that names `owner`
/// (``stage `convert` of plugin `my-plugin` ``).
pub fn guard<T>(owner: impl Fn() -> String, body: impl FnOnce() -> Result<T, AbiError>) -> AbiResult<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result.into(),
        Err(payload) => {
            let message = payload_text(payload.as_ref()).to_owned();
            // Dropping a payload runs foreign code that may panic again; a leak is the lesser evil.
            std::mem::forget(payload);
            let place = take_panic_location().map(|at| format!(" ({at})")).unwrap_or_default();
            Err(AbiError::new(AbiError::PANIC, format!("{} panicked: {message}{place}", owner()))).into()
        }
    }
}

/// Makes every panic of this library leave its place behind for [`guard`] and go to `forward` (message, place), before
/// it is printed to stderr as usual. The hook is the library's own: the host's is never called for a plugin.
pub fn remember_panics(forward: impl Fn(&str, &str) + Send + Sync + 'static) {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        forward(payload_text(info.payload()), &place);
        LOCATION.with(|slot| *slot.borrow_mut() = Some(place));
        print(info);
    }));
}

/// The place of this thread's last panic, once.
pub fn take_panic_location() -> Option<String> {
    LOCATION.with(|slot| slot.borrow_mut().take())
}

fn payload_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> String {
        "stage `s` of plugin `p`".into()
    }

    #[test]
    fn a_panic_is_an_error_that_names_its_owner() {
        let result: AbiResult<()> = guard(owner, || panic!("index {} out of bounds", 7));
        let error = result.into_result().expect_err("it panicked");
        assert_eq!(error.code, AbiError::PANIC);
        assert_eq!(error.message, "stage `s` of plugin `p` panicked: index 7 out of bounds");
    }

    #[test]
    fn results_pass_through() {
        assert_eq!(guard(owner, || Ok(3)).into_result(), Ok(3));
        let refused: AbiResult<u8> = guard(owner, || Err(AbiError::new("no", "not today")));
        assert_eq!(refused.into_result().expect_err("refused").code, "no");
    }
}
