//! A range of a map's rows as runs of consecutive source rows.

use std::ops::Range;

use model::RowMap;
use model::row_map::Rows;

/// Consecutive rows of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Index into the map's sources.
    pub source: usize,
    /// The first source row.
    pub row: u64,
    /// How many rows.
    pub count: u64,
}

/// The runs that make the rows of `range`, in order; their counts add up to its length where the map has the rows.
pub(super) fn runs(map: &RowMap, range: Range<u64>) -> Vec<Run> {
    let mut out: Vec<Run> = Vec::new();
    let mut segment_start = 0;
    for segment in &map.segments {
        let count = segment.rows.count();
        let start = range.start.max(segment_start) - segment_start;
        let end = range.end.min(segment_start + count).saturating_sub(segment_start);
        segment_start += count;
        if start >= end {
            continue;
        }
        match &segment.rows {
            Rows::Range { first, .. } => {
                out.push(Run { source: segment.source, row: first + start, count: end - start })
            }
            Rows::List(rows) => rows[start as usize..end as usize].iter().for_each(|row| {
                let row = u64::from(*row);
                match out.last_mut() {
                    Some(run) if run.source == segment.source && run.row + run.count == row => run.count += 1,
                    _ => out.push(Run { source: segment.source, row, count: 1 }),
                }
            }),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::row_map::RowSegment;

    #[test]
    fn lists_fall_into_runs_and_ranges_are_cut() {
        let segments = vec![
            RowSegment { source: 0, rows: Rows::Range { first: 10, count: 4 } },
            RowSegment { source: 1, rows: Rows::List(vec![5, 6, 2, 3]) },
        ];
        let map = RowMap { shape: vec![8, 1], columns: 1, sources: Vec::new(), segments };
        let run = |source, row, count| Run { source, row, count };
        assert_eq!(runs(&map, 0..8), [run(0, 10, 4), run(1, 5, 2), run(1, 2, 2)]);
        assert_eq!(runs(&map, 3..6), [run(0, 13, 1), run(1, 5, 2)]);
        assert_eq!(runs(&map, 5..7), [run(1, 6, 1), run(1, 2, 1)]);
    }
}
