//! Every path of a run directory in one place.
//!
//! ```text
//! runs/<pipeline>/<UTC time>/   below the current directory, unless `--run-dir` says otherwise
//!   resolved.toml               the pipeline as it ran: variables and flags put in, paths absolute
//!   lineage.json                of each result: key, plugins, extensions, pins, digests, machine
//!   events.jsonl                what every worker reported, one object a line
//!   metrics.jsonl               the points of all series
//!   report.json, report.html    the end
//!   plan/<stage>/               job and stderr of the planning worker
//!   stages/<stage>/             job.json, stderr.log, and log.txt with the stage's own log
//!   outputs/<stage>/<port>      links to the artifacts in the cache
//! ```

use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Paths of one run directory.
#[derive(Debug, Clone)]
pub struct RunLayout {
    root: PathBuf,
}

impl RunLayout {
    /// The run directory that the user chose, else a new one for a run that starts now.
    pub fn choose(chosen: Option<&Path>, current_dir: &Path, pipeline: &str) -> Self {
        let root = chosen.map_or_else(
            || {
                let time = Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
                let runs = current_dir.join("runs").join(file_name(pipeline));
                // Two runs can start within one second.
                let names = std::iter::once(time.clone()).chain((2..).map(|n| format!("{time}-{n}")));
                let mut free = names.map(|n| runs.join(n)).filter(|p| !p.exists());
                free.next().unwrap_or(runs)
            },
            |chosen| current_dir.join(chosen),
        );
        Self { root }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The pipeline as it ran.
    pub fn pipeline(&self) -> PathBuf {
        self.root.join("resolved.toml")
    }

    /// Where each result comes from.
    pub fn lineage(&self) -> PathBuf {
        self.root.join("lineage.json")
    }

    /// What every worker reported.
    pub fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }

    /// The points of all series.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// The final report for scripts.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.json")
    }

    /// The final report for people.
    pub fn page(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// Where planning workers leave their files.
    pub fn plans(&self) -> PathBuf {
        self.root.join("plan")
    }

    /// Where a stage's worker leaves its files.
    pub fn stage(&self, stage: &str) -> PathBuf {
        self.root.join("stages").join(stage)
    }

    /// A stage's own log.
    pub fn log(&self, stage: &str) -> PathBuf {
        self.stage(stage).join("log.txt")
    }

    /// Links to a stage's outputs.
    pub fn outputs(&self, stage: &str) -> PathBuf {
        self.root.join("outputs").join(stage)
    }
}

/// A pipeline's name is free text; a directory's is not.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "pipeline".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_the_directory() {
        assert_eq!(file_name("../my model/1"), "-my-model-1");
        assert_eq!(file_name(".."), "pipeline");
        assert_eq!(file_name("llama-3.2"), "llama-3.2");
    }
}
