//! JSONL, a line at a time.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use stage_model::parse_json_line;
use tokenizer::conversation::Record;

use super::error::{BadLine, DataError, LineProblem};

/// Bad lines that one error lists.
const LISTED: usize = 5;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: usize,
    /// Without white space around it.
    pub bytes: usize,
}

/// Shows `visit` each record of the file with its line; blank lines are none. Reading ends behind the line with which
/// `limit` bytes are exceeded.
///
/// Gives the bytes read.
///
/// # Errors
/// Where the file cannot be read, has no record, or lines of it are none or refused by `visit`; all bad lines are read
/// before.
pub fn each_record(
    path: &Path,
    limit: u64,
    mut visit: impl FnMut(Line, Record) -> Result<(), LineProblem>,
) -> Result<u64, DataError> {
    let failed = DataError::read(path);
    let mut reader = BufReader::new(File::open(path).map_err(&failed)?);
    let (mut line, mut all_bytes, mut records) = (Vec::new(), 0, 0usize);
    let (mut bad, mut more) = (Vec::new(), 0);
    for number in 1.. {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(&failed)?;
        if read == 0 || all_bytes > limit {
            break;
        }
        all_bytes += read as u64;
        // What stands before the record stays, so that columns are those of the file.
        let text = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line).trim_ascii_end();
        let bytes = text.trim_ascii_start().len();
        if bytes == 0 {
            continue;
        }
        records += 1;
        match parse(text).and_then(|record| visit(Line { number, bytes }, record)) {
            Ok(()) => {}
            Err(problem) if bad.len() < LISTED => bad.push(BadLine { number, problem }),
            Err(_) => more += 1,
        }
    }
    match (records, bad.is_empty()) {
        (0, _) => Err(DataError::Empty { path: path.to_owned() }),
        (_, true) => Ok(all_bytes),
        (_, false) => Err(DataError::Lines { path: path.to_owned(), lines: bad, more }),
    }
}

fn parse(line: &[u8]) -> Result<Record, LineProblem> {
    let value = parse_json_line(line).map_err(LineProblem::Json)?;
    Ok(Record::from_json(&value)?)
}
