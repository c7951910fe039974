//! The table of families in README.

use std::fs;
use std::path::Path;

use super::figures::Figures;
use super::{Kind, MatrixError, io_at};

const BEGIN: &str = "<!-- made by `cargo xtask matrix` -->";
const END: &str = "<!-- end of what `cargo xtask matrix` made -->";

const HEAD: &str = "\
| family | models | GGUF architecture | in `tests/data/families` | logits | fused | KL f32 | KL q8_0 | KL beside |
|---|---|---|---|---|---|---|---|---|
";

/// One model with what was seen of it.
pub struct Row {
    pub kind: Kind,
    pub figures: Figures,
}

/// The table in Markdown.
pub fn table(rows: &[Row]) -> String {
    rows.iter().fold(HEAD.to_owned(), |text, row| text + &line(&row.kind, &row.figures))
}

fn line(Kind { data, models }: &Kind, seen: &Figures) -> String {
    let figures = [seen.transformers, seen.fused, seen.kl.f32, seen.kl.q8_0, seen.kl.beside].map(short);
    let (family, architecture) = (&seen.family, &seen.gguf_architecture);
    format!("| `{family}` | {models} | `{architecture}` | `{data}` | {} |\n", figures.join(" | "))
}

/// One digit: what is behind it differs from processor to processor. Sums over a whole vocabulary end in f64's own
/// noise, on either side of zero.
fn short(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".into(),
        small if small < 1e-10 => "< 1e-10".into(),
        _ => format!("{figure:.0e}"),
    }
}

/// Puts the table between its marks.
///
/// # Errors
/// Where the file cannot be read or written, or has no marks.
pub fn write(path: &Path, table: &str) -> Result<(), MatrixError> {
    let text = fs::read_to_string(path).map_err(io_at(path))?;
    let no_mark = |marker| MatrixError::Marker { path: path.to_owned(), marker };
    let (before, _, after) = parts(&text).map_err(no_mark)?;
    fs::write(path, format!("{before}{BEGIN}\n{table}{END}{after}")).map_err(io_at(path))
}

/// What is before the marks, between and after them; the mark that is missing.
fn parts(text: &str) -> Result<(&str, &str, &str), &'static str> {
    let (before, rest) = text.split_once(BEGIN).ok_or(BEGIN)?;
    let (table, after) = rest.split_once(END).ok_or(END)?;
    Ok((before, table.trim_start_matches('\n'), after))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::matrix::figures::Divergences;
    use crate::matrix::{KINDS, families};
    use crate::workspace::Workspace;

    fn directories() -> BTreeSet<String> {
        let entries = fs::read_dir(families(Workspace::here().root())).unwrap().map(|entry| entry.unwrap());
        let directories = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        directories.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    /// No row without data and no data without a row.
    #[test]
    fn readme_has_a_row_for_every_model_that_is_tested() {
        let readme = fs::read_to_string(Workspace::here().root().join("README.md")).unwrap();
        let rows = parts(&readme).unwrap().1.strip_prefix(HEAD).expect("today's columns").trim_end().lines();
        let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let rows: Vec<Vec<String>> = rows.map(cells).collect();
        let shown: Vec<[&str; 2]> = rows.iter().map(|row| [row[3].trim_matches('`'), row[1].as_str()]).collect();
        assert_eq!(shown, KINDS.map(|kind| [kind.data, kind.models]));
        assert_eq!(KINDS.map(|kind| kind.data.to_owned()).into_iter().collect::<BTreeSet<_>>(), directories());
        for row in &rows {
            assert!(row.len() == 9 && row[4..].iter().all(|figure| !figure.is_empty()), "{row:?}");
        }
    }

    #[test]
    fn a_row_shows_one_digit_of_each_figure() {
        let kl = Divergences { f32: -3e-17, q8_0: 4.6e-3, beside: 0.0 };
        let seen = Figures {
            family: "llama".into(),
            gguf_architecture: "llama".into(),
            transformers: 1.26e-6,
            fused: 0.0,
            changed: 1.0,
            kl,
        };
        let got = line(&Kind { data: "llama3", models: "Llama 3.x" }, &seen);
        assert_eq!(got, "| `llama` | Llama 3.x | `llama` | `llama3` | 1e-6 | 0 | < 1e-10 | 5e-3 | 0 |\n");
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("README.md");
        fs::write(&path, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        write(&path, "new\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        fs::write(&path, BEGIN).unwrap();
        assert!(write(&path, "new\n").unwrap_err().to_string().contains(END));
    }
}
