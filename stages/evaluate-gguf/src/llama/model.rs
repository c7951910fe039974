//! A loaded model file, with an adapter beside it where one is shipped so.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_sys_2 as ffi;

use super::{LlamaError, backend, log};

/// A GGUF as llama.cpp sees it: mapped, not copied.
pub struct Model {
    model: NonNull<ffi::llama_model>,
    adapter: Option<NonNull<ffi::llama_adapter_lora>>,
}

impl Model {
    /// Loads `path` (the first part of a split file), and a GGUF LoRA that every later session applies at scale 1.
    ///
    /// # Errors
    /// Whatever llama.cpp says about the files, in its own words.
    pub fn load(path: &Path, adapter: Option<&Path>) -> Result<Self, LlamaError> {
        backend::start()?;
        let name = c_path(path)?;
        log::take_complaints();
        // SAFETY: `name` outlives the call; the parameters are llama.cpp's defaults with plain values changed.
        let model = unsafe { ffi::llama_model_load_from_file(name.as_ptr(), load_params()) };
        let Some(model) = NonNull::new(model) else {
            return Err(LlamaError::Load { path: path.to_owned(), log: log::take_complaints() });
        };
        let mut loaded = Self { model, adapter: None };
        if let Some(adapter) = adapter {
            loaded.adapter = Some(loaded.load_adapter(adapter)?);
        }
        Ok(loaded)
    }

    fn load_adapter(&self, path: &Path) -> Result<NonNull<ffi::llama_adapter_lora>, LlamaError> {
        let name = c_path(path)?;
        log::take_complaints();
        // SAFETY: the model is valid; it frees the adapter together with itself.
        let adapter = unsafe { ffi::llama_adapter_lora_init(self.model.as_ptr(), name.as_ptr()) };
        NonNull::new(adapter).ok_or_else(|| LlamaError::Adapter { path: path.to_owned(), log: log::take_complaints() })
    }

    /// A value of the file's metadata, numbers in decimal. Arrays have none.
    pub fn metadata(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        // SAFETY: model and key are valid; a null buffer of length 0 only asks for the length.
        let length =
            unsafe { ffi::llama_model_meta_val_str(self.model.as_ptr(), key.as_ptr(), std::ptr::null_mut(), 0) };
        let mut buffer = vec![0u8; usize::try_from(length).ok()? + 1];
        // SAFETY: the buffer's true length is passed; llama.cpp writes at most that and ends with a zero.
        unsafe {
            ffi::llama_model_meta_val_str(self.model.as_ptr(), key.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
        };
        CStr::from_bytes_until_nul(&buffer).ok().map(|text| text.to_string_lossy().into_owned())
    }

    /// Weights, counted once.
    pub fn parameters(&self) -> u64 {
        // SAFETY: the model is valid.
        unsafe { ffi::llama_model_n_params(self.model.as_ptr()) }
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        // SAFETY: the model is valid.
        unsafe { ffi::llama_model_size(self.model.as_ptr()) }
    }

    /// The context that the model was trained for, tokens.
    pub fn trained_context(&self) -> usize {
        // SAFETY: the model is valid.
        usize::try_from(unsafe { ffi::llama_model_n_ctx_train(self.model.as_ptr()) }).unwrap_or(0)
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::llama_model {
        self.model.as_ptr()
    }

    pub(super) fn adapter(&self) -> Option<NonNull<ffi::llama_adapter_lora>> {
        self.adapter
    }

    pub(super) fn vocabulary(&self) -> *const ffi::llama_vocab {
        // SAFETY: the model is valid, and so is its vocabulary as long as the model lives.
        unsafe { ffi::llama_model_get_vocab(self.model.as_ptr()) }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: the pointer came from llama.cpp and sessions, which borrow the model, are gone. Frees the adapter.
        unsafe { ffi::llama_model_free(self.model.as_ptr()) }
    }
}

/// Mapped, on the processor alone, weights as they lie: repacked copies cost memory, and those for AMX crash.
fn load_params() -> ffi::llama_model_params {
    // SAFETY: returns plain data.
    let mut params = unsafe { ffi::llama_model_default_params() };
    params.n_gpu_layers = 0;
    params.load_mode = ffi::LLAMA_LOAD_MODE_MMAP;
    params.use_extra_bufts = false;
    params
}

fn c_path(path: &Path) -> Result<CString, LlamaError> {
    path.to_str().and_then(|text| CString::new(text).ok()).ok_or_else(|| LlamaError::Path { path: path.to_owned() })
}
