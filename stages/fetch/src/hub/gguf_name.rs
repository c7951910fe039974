//! What a GGUF's name says about it, read as llama.cpp reads it (`common/download.cpp`).

/// Name parts of files that go beside a model: vision projectors, importance matrices, draft heads.
const COMPANIONS: [&str; 6] = ["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];

/// A GGUF of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GgufName<'a> {
    /// Path in the repository.
    pub path: &'a str,
    /// The path without suffix and part number.
    stem: &'a str,
    /// The part's number, from 1.
    number: u64,
    /// How many parts there are.
    pub count: u64,
}

impl<'a> GgufName<'a> {
    /// `None` where the file is no GGUF.
    pub fn parse(path: &'a str) -> Option<Self> {
        let whole = path.strip_suffix(".gguf")?;
        let (stem, number, count) = part(whole).unwrap_or((whole, 1, 1));
        Some(Self { path, stem, number, count })
    }

    /// Whether it is a model rather than something that goes beside one.
    pub fn is_model(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or(self.path);
        !COMPANIONS.iter().any(|companion| name.contains(companion))
    }

    /// Whether reading the model starts with this file.
    pub fn is_first(&self) -> bool {
        self.number == 1
    }

    /// Whether `tag` and then a dot or a dash stand somewhere in the path. Unlike llama.cpp, which takes `BF16` for
    /// `F16`, no letter or digit may stand before it.
    pub fn has_tag(&self, tag: &str) -> bool {
        let (path, tag) = (self.path.to_ascii_uppercase(), tag.to_ascii_uppercase());
        path.match_indices(&tag).any(|(at, found)| {
            let before = path[..at].chars().next_back();
            let after = path[at + found.len()..].chars().next();
            !before.is_some_and(|c| c.is_ascii_alphanumeric()) && after.is_some_and(|c| c == '.' || c == '-')
        })
    }

    /// Whether both are parts of one model.
    pub fn is_part_of(&self, other: &Self) -> bool {
        self.stem == other.stem && self.count == other.count
    }

    /// The quantization that the name ends with, for people: `Q4_K_M`; else the name.
    pub fn quantization(&self) -> String {
        let name = self.stem.rsplit('/').next().unwrap_or(self.stem);
        let tag = name.rsplit(['-', '.']).next().unwrap_or(name);
        tag.to_ascii_uppercase()
    }
}

/// Takes `-00001-of-00003` off.
fn part(stem: &str) -> Option<(&str, u64, u64)> {
    let digits = |text: &str| (text.len() == 5).then(|| text.parse::<u64>().ok()).flatten();
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (rest, number) = rest.rsplit_once('-')?;
    Some((rest, digits(number)?, digits(count)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parts_share_a_stem() {
        let parse = |path| GgufName::parse(path).unwrap();
        let (first, second) = (parse("d/m-Q8_0-00001-of-00002.gguf"), parse("d/m-Q8_0-00002-of-00002.gguf"));
        assert!(first.is_first() && !second.is_first() && second.is_part_of(&first));
        assert_eq!((first.count, first.quantization().as_str()), (2, "Q8_0"));
        assert!(!parse("d/m-Q8_0.gguf").is_part_of(&first));
        assert_eq!(GgufName::parse("m.safetensors"), None);
    }

    #[test]
    fn a_tag_ends_with_a_dot_or_a_dash() {
        let name = GgufName::parse("Llama-3.2-1B-Instruct.Q4_K_M.gguf").unwrap();
        assert!(name.has_tag("q4_k_m") && !name.has_tag("Q4_K"));
        assert_eq!(name.quantization(), "Q4_K_M");
        let bf16 = GgufName::parse("m-BF16.gguf").unwrap();
        assert!(bf16.has_tag("bf16") && !bf16.has_tag("F16"));
        assert!(!GgufName::parse("mmproj-F16.gguf").unwrap().is_model());
    }
}
