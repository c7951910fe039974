//! Which bytes of a file are tensors' data, and none of a plan's business.

use std::ops::Range;

use checkpoint::gguf::{self, FACT_TENSORS};
use checkpoint::safetensors;

use super::Content;

/// Whether an answer with `range` of the file would give weights away.
///
/// A safetensors header says its length, so nobody needs a byte behind it. A GGUF's does not, so a read that begins in
/// the header may run over; and the few tensors that are facts of the architecture are no weights.
pub fn reaches_into(name: &str, content: &Content, range: &Range<u64>) -> bool {
    if name.ends_with(".safetensors") {
        let header = safetensors::Header::read(content).expect("a published file is whole");
        return header.tensors.iter().any(|t| range.start < t.offset + t.bytes && t.offset < range.end);
    }
    let header = gguf::Header::read(content).expect("a published file is whole");
    let weights = header.tensors.iter().filter(|t| !FACT_TENSORS.contains(&t.tensor.name.as_str()));
    weights.into_iter().any(|t| (t.offset..t.offset + t.bytes).contains(&range.start))
}
