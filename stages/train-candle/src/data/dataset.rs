//! A data set in memory, and what is said about it.

use std::collections::BTreeMap;
use std::path::Path;

use stage_api::{Finding, Severity};
use tokenizer::conversation::Sample;
use tokenizer::finding;

use super::error::DataError;
use super::lines::each_record;
use super::preparation::Preparation;

/// Samples in the file's order.
#[derive(Debug)]
pub struct Dataset {
    /// Token ids and what of them is learned.
    pub samples: Vec<Sample>,
    /// How much of the file was read.
    pub extent: Extent,
    name: String,
    /// The tokenizer's findings by code: how many lines, the first of them, its message.
    remarks: BTreeMap<String, Remark>,
}

/// How much of a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes read.
    pub read: u64,
    /// Bytes of the file.
    pub total: u64,
}

#[derive(Debug)]
struct Remark {
    lines: usize,
    first_line: usize,
    finding: finding::Finding,
}

impl Extent {
    /// What `count` of the part that was read is of the whole, by size.
    pub fn scale(&self, count: u64) -> u64 {
        if self.read >= self.total { count } else { (count as f64 * self.total as f64 / self.read as f64) as u64 }
    }
}

impl Dataset {
    /// Reads and tokenizes the file, or as much of it as `limit` bytes.
    ///
    /// # Errors
    /// Where the file cannot be read, is empty, or has lines that give no sample.
    pub fn load(path: &Path, preparation: &Preparation<'_>, limit: u64) -> Result<Self, DataError> {
        let total = path.metadata().map_err(DataError::read(path))?.len();
        let (mut samples, mut remarks) = (Vec::new(), BTreeMap::new());
        let read = each_record(path, limit, |line, record| {
            let (sample, findings) = preparation.sample(record)?;
            samples.push(sample);
            for finding in findings {
                let code = finding.code.clone();
                remarks.entry(code).or_insert(Remark { lines: 0, first_line: line.number, finding }).lines += 1;
            }
            Ok(())
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { samples, extent: Extent { read, total }, name, remarks })
    }

    /// Tokens of the samples that were read.
    pub fn tokens(&self) -> usize {
        self.samples.iter().map(|sample| sample.ids.len()).sum()
    }

    /// Those that are learned.
    pub fn learned_tokens(&self) -> usize {
        self.samples.iter().map(Sample::learned_tokens).sum()
    }

    /// What the user should know: size, share of learned tokens, and whatever the tokenizer remarked, once each.
    pub fn findings(&self) -> Vec<Finding> {
        let Self { samples, name, .. } = self;
        let (tokens, learned) = (self.tokens(), self.learned_tokens());
        let longest = samples.iter().map(|sample| sample.ids.len()).max().unwrap_or(0);
        let share = 100.0 * learned as f64 / tokens.max(1) as f64;
        let mut message = format!(
            "`{name}`: {} samples, {tokens} tokens, {learned} of them learned ({share:.1} %), the longest sample {longest}",
            samples.len()
        );
        if self.extent.read < self.extent.total {
            message += &format!(", in the first {} of {} bytes", self.extent.read, self.extent.total);
        }
        let size = Finding::new(Severity::Note, "data", message);
        std::iter::once(size).chain(self.remarks.values().map(|remark| remark.finding(name))).collect()
    }
}

impl Remark {
    fn finding(&self, name: &str) -> Finding {
        let Self { lines, first_line, finding } = self;
        let severity = match finding.severity {
            finding::Severity::Note => Severity::Note,
            finding::Severity::Warning => Severity::Warning,
        };
        let message = format!("`{name}`, {lines} lines, the first is {first_line}: {}", finding.message);
        Finding::new(severity, &finding.code.replace('-', "_"), message)
    }
}

/// Looks at every line without a tokenizer, or at those within `limit` bytes; gives the bytes of each record.
///
/// # Errors
/// As [`Dataset::load`].
pub fn check(path: &Path, limit: u64) -> Result<(Vec<usize>, Extent), DataError> {
    let total = path.metadata().map_err(DataError::read(path))?.len();
    let mut records = Vec::new();
    let read = each_record(path, limit, |line, _| {
        records.push(line.bytes);
        Ok(())
    })?;
    Ok((records, Extent { read, total }))
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
