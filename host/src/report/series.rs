//! The points of all series of a run, for the page.

use std::collections::BTreeMap;

/// Points a series keeps at most; beyond it every second one is dropped, again and again.
const KEPT: usize = 4096;

/// Points by stage and name.
#[derive(Debug, Default)]
pub struct Series {
    points: BTreeMap<(String, String), Line>,
}

#[derive(Debug, Default)]
struct Line {
    points: Vec<(u64, f64)>,
    seen: u64,
    stride: u64,
}

impl Series {
    /// Adds a point; one without a finite value is a gap.
    pub fn add(&mut self, stage: &str, name: &str, step: u64, value: Option<f64>) {
        let Some(value) = value else { return };
        let line = self.points.entry((stage.into(), name.into())).or_default();
        let stride = line.stride.max(1);
        if line.seen.is_multiple_of(stride) {
            line.points.push((step, value));
        }
        line.seen += 1;
        if line.points.len() >= KEPT {
            line.stride = stride * 2;
            let mut keep = false;
            line.points.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// Every series that is a line: stage, name and points.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &str, &[(u64, f64)])> {
        let lines = self.points.iter().filter(|(_, line)| line.points.len() > 1);
        lines.map(|((stage, name), line)| (stage.as_str(), name.as_str(), line.points.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_series_are_thinned_evenly() {
        let mut series = Series::default();
        for step in 0..20_000 {
            series.add("train", "loss", step, Some(step as f64));
        }
        series.add("train", "alone", 0, Some(1.0));
        series.add("train", "loss", 20_000, None);
        let lines: Vec<_> = series.lines().collect();
        assert_eq!(lines.len(), 1);
        let (_, _, points) = lines[0];
        assert!(points.len() < KEPT, "{}", points.len());
        assert!(points.windows(2).all(|w| w[1].0 - w[0].0 == 8), "{:?}", &points[..4]);
    }
}
