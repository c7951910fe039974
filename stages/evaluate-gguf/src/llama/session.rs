//! Decoding: tokens in, logits out.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Instant;

use llama_cpp_sys_2 as ffi;

use super::pace::Pace;
use super::{LlamaError, Model, Token, log};

/// How a session computes.
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions {
    /// Most tokens of one text.
    pub context: usize,
    /// Most tokens of one [`Session::feed`]; logits of so many rows are held.
    pub batch: usize,
    /// Threads that may be busy; results do not depend on them, and a busy machine gets fewer.
    pub threads: usize,
}

/// Which tokens of a batch get logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// Every one.
    All,
    /// The last one.
    Last,
}

/// One text at a time through a model.
pub struct Session<'m> {
    context: NonNull<ffi::llama_context>,
    options: SessionOptions,
    vocab_size: usize,
    /// Tokens decoded since the last [`Session::reset`].
    position: usize,
    /// Tokens of the last batch that have logits.
    outputs: usize,
    /// Batches of more than one token.
    pub prompt: Pace,
    /// Batches of one token.
    pub generation: Pace,
    model: PhantomData<&'m Model>,
}

impl<'m> Session<'m> {
    /// Makes room for `options.context` tokens: f32 attention states, no flash attention.
    ///
    /// # Errors
    /// Where llama.cpp cannot make the context, e.g. for lack of memory.
    pub fn new(model: &'m Model, options: SessionOptions) -> Result<Self, LlamaError> {
        log::take_complaints();
        // SAFETY: the model is valid and outlives the session; the parameters are defaults with plain values changed.
        let context = unsafe { ffi::llama_init_from_model(model.as_ptr(), context_params(options)) };
        let failed = || LlamaError::Context { context: options.context, log: log::take_complaints() };
        let session = Self {
            context: NonNull::new(context).ok_or_else(failed)?,
            options,
            vocab_size: model.vocab_size(),
            position: 0,
            outputs: 0,
            prompt: Pace::new(options.threads),
            generation: Pace::new(options.threads),
            model: PhantomData,
        };
        if let Some(adapter) = model.adapter() {
            let (mut adapters, mut scales) = ([adapter.as_ptr()], [1.0f32]);
            // SAFETY: both arrays hold one element; llama.cpp copies them.
            let code = unsafe {
                ffi::llama_set_adapters_lora(context, adapters.as_mut_ptr(), adapters.len(), scales.as_mut_ptr())
            };
            if code != 0 {
                return Err(failed());
            }
        }
        Ok(session)
    }

    /// Most tokens of one [`Session::feed`].
    pub fn batch(&self) -> usize {
        self.options.batch
    }

    /// Columns of a row of logits.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Forgets the text so far.
    pub fn reset(&mut self) {
        // SAFETY: the context is valid.
        unsafe { ffi::llama_memory_clear(ffi::llama_get_memory(self.context.as_ptr()), true) }
        self.position = 0;
        self.outputs = 0;
    }

    /// Decodes at most [`Session::batch`] more tokens of the text.
    ///
    /// # Errors
    /// Where an id is outside the vocabulary, the context is full, llama.cpp fails or a logit is not finite.
    pub fn feed(&mut self, tokens: &[Token], outputs: Outputs) -> Result<(), LlamaError> {
        if tokens.is_empty() {
            return Ok(());
        }
        self.check(tokens)?;
        let mut ids: Vec<i32> = tokens.iter().map(|&token| token.cast_signed()).collect();
        let mut wanted = vec![i8::from(outputs == Outputs::All); ids.len()];
        if let Some(last) = wanted.last_mut() {
            *last = 1;
        }
        let batch = ffi::llama_batch {
            n_tokens: ids.len() as i32,
            token: ids.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: std::ptr::null_mut(),
            n_seq_id: std::ptr::null_mut(),
            seq_id: std::ptr::null_mut(),
            logits: wanted.as_mut_ptr(),
        };
        let pace = if ids.len() == 1 { &mut self.generation } else { &mut self.prompt };
        let (threads, start) = (pace.threads(), Instant::now());
        let count = i32::try_from(threads).unwrap_or(i32::MAX);
        // SAFETY: the context is valid.
        unsafe { ffi::llama_set_n_threads(self.context.as_ptr(), count, count) }
        // SAFETY: the arrays hold `n_tokens` items and outlive the call; null positions and sequences mean "go on".
        let code = unsafe { ffi::llama_decode(self.context.as_ptr(), batch) };
        if code != 0 {
            return Err(LlamaError::Decode { code, log: log::take_complaints() });
        }
        // SAFETY: the context is valid; decoding may go on in the background until this returns.
        unsafe { ffi::llama_synchronize(self.context.as_ptr()) }
        pace.record(threads, ids.len(), start.elapsed());
        self.position += ids.len();
        self.outputs = if outputs == Outputs::All { ids.len() } else { 1 };
        self.check_logits()
    }

    /// The logits of the last batch, row-major `[rows, vocab_size]`: every token's, or the last one's.
    pub fn logits(&self) -> &[f32] {
        // SAFETY: the context is valid.
        let data = unsafe { ffi::llama_get_logits(self.context.as_ptr()) };
        if data.is_null() || self.outputs == 0 {
            return &[];
        }
        // SAFETY: llama.cpp holds one contiguous row a token with logits, valid until the next decoding, which needs
        // `&mut self`.
        unsafe { std::slice::from_raw_parts(data, self.outputs * self.vocab_size) }
    }

    fn check(&self, tokens: &[Token]) -> Result<(), LlamaError> {
        let wanted = self.position + tokens.len();
        if wanted > self.options.context || tokens.len() > self.options.batch {
            return Err(LlamaError::ContextFull { wanted, context: self.options.context });
        }
        match tokens.iter().find(|&&token| token as usize >= self.vocab_size) {
            Some(&token) => Err(LlamaError::UnknownToken { token, vocab_size: self.vocab_size }),
            None => Ok(()),
        }
    }

    fn check_logits(&self) -> Result<(), LlamaError> {
        let first = self.position - self.outputs;
        let logits = self.logits();
        if logits.is_empty() {
            return Err(LlamaError::NoLogits);
        }
        for (row, logits) in logits.chunks_exact(self.vocab_size.max(1)).enumerate() {
            if !logits.iter().all(|x| x.is_finite()) {
                return Err(LlamaError::NotFinite { position: first + row });
            }
        }
        Ok(())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from llama.cpp and is freed once.
        unsafe { ffi::llama_free(self.context.as_ptr()) }
    }
}

fn context_params(options: SessionOptions) -> ffi::llama_context_params {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let threads = i32::try_from(options.threads).unwrap_or(i32::MAX).max(1);
    // SAFETY: returns plain data.
    let mut params = unsafe { ffi::llama_context_default_params() };
    params.n_ctx = count(options.context);
    params.n_batch = count(options.batch);
    params.n_ubatch = count(options.batch);
    params.n_seq_max = 1;
    params.n_threads = threads;
    params.n_threads_batch = threads;
    params.flash_attn_type = ffi::LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.type_k = ffi::GGML_TYPE_F32;
    params.type_v = ffi::GGML_TYPE_F32;
    params.offload_kqv = false;
    params.op_offload = false;
    params
}
