//! Split files: `name-00001-of-0000N.gguf` and its kin are one model.
//!
//! The first part holds all metadata and perhaps no tensor; the others hold `split.*` alone beside their tensors. Names
//! of the other parts derive from the first one's, as in `llama_split_path`.

use std::collections::BTreeSet;

use super::{Error, Header, Problem};

const NUMBER_KEY: &str = "split.no";
const COUNT_KEY: &str = "split.count";
const TENSORS_KEY: &str = "split.tensors.count";

/// What a part says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitInfo {
    /// The part's number, from 0.
    pub number: u64,
    /// How many parts there are.
    pub count: u64,
    /// Tensors of all parts together.
    pub tensors: u64,
}

impl SplitInfo {
    /// `None` where the file is whole.
    pub fn of(header: &Header) -> Result<Option<Self>, Problem> {
        let metadata = &header.metadata;
        match metadata.get::<u16>(COUNT_KEY)? {
            None | Some(0 | 1) => Ok(None),
            Some(count) => Ok(Some(Self {
                number: metadata.require::<u16>(NUMBER_KEY)?.into(),
                count: count.into(),
                tensors: metadata.require(TENSORS_KEY)?,
            })),
        }
    }
}

/// File names of all parts of the model whose first part is called `first`; the name alone where the file is whole.
pub fn part_names(first: &str, header: &Header) -> Result<Vec<String>, Error> {
    let named = |problem| Error::new(first, problem);
    let Some(SplitInfo { number, count, .. }) = SplitInfo::of(header).map_err(named)? else {
        return Ok(vec![first.to_owned()]);
    };
    let ending = |number: u64| format!("-{:05}-of-{count:05}.gguf", number + 1);
    match first.strip_suffix(&ending(number)) {
        None => Err(named(Problem::PartName { count, expected: ending(number) })),
        Some(prefix) if number != 0 => {
            Err(named(Problem::NotFirstPart { number, count, first: format!("{prefix}{}", ending(0)) }))
        }
        Some(prefix) => Ok((0..count).map(|number| format!("{prefix}{}", ending(number))).collect()),
    }
}

/// Checks that all parts, named in order, belong together; the error names the part that does not.
pub fn check_parts(parts: &[(String, Header)]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for (number, (name, header)) in parts.iter().enumerate() {
        let named = |problem| Error::new(name.as_str(), problem);
        if parts.len() > 1 {
            check_place(header, number as u64, parts.len() as u64).map_err(named)?;
        }
        for tensor in &header.tensors {
            if !seen.insert(&tensor.tensor.name) {
                return Err(named(Problem::Duplicate { what: "tensor", name: tensor.tensor.name.clone() }));
            }
        }
    }
    let Some((name, first)) = parts.first() else {
        return Ok(());
    };
    let named = |problem| Error::new(name.as_str(), problem);
    match SplitInfo::of(first).map_err(named)? {
        Some(SplitInfo { tensors, .. }) if tensors != seen.len() as u64 => {
            Err(named(Problem::PartTensors { got: seen.len() as u64, expected: tensors }))
        }
        _ => Ok(()),
    }
}

fn check_place(header: &Header, number: u64, count: u64) -> Result<(), Problem> {
    let got_number = header.metadata.require::<u16>(NUMBER_KEY)?.into();
    if got_number != number {
        return Err(Problem::PartMismatch { key: NUMBER_KEY, got: got_number, expected: number });
    }
    let got_count = header.metadata.require::<u16>(COUNT_KEY)?.into();
    if got_count != count {
        return Err(Problem::PartMismatch { key: COUNT_KEY, got: got_count, expected: count });
    }
    Ok(())
}
