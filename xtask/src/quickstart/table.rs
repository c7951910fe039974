//! The figures: how training went, and each way to ship beside the base.

use super::outcome::{Evaluation, Shipped};
use crate::host::StageReport;

/// Training in two lines.
pub fn training(training: &StageReport) -> String {
    let metric = |name: &str| training.metrics.get(name).copied();
    let mut text = String::from("training");
    if let (Some(steps), Some(loss)) = (metric("steps"), metric("loss")) {
        text += &format!("  {steps} steps to a loss of {loss:.3}");
    }
    if let (Some(before), Some(after)) = (metric("eval_loss_before"), metric("eval_loss")) {
        text += &format!(", held-out loss {before:.3} → {after:.3}");
    }
    text += &format!("\n          {:.0} s", training.seconds);
    if let Some(speed) = metric("tokens_per_second") {
        text += &format!(", {speed:.0} tokens/s");
    }
    if let Some(memory) = training.memory {
        text += &format!(", {} of memory", megabytes(memory));
    }
    text + "\n"
}

/// One line a figure, one column a way to ship; everything was measured in llama.cpp unless the line says otherwise.
pub fn table(shipped: &[Shipped]) -> String {
    let chats = |e: &Evaluation| e.chats.as_ref().map(|p| p.perplexity);
    let text = |e: &Evaluation| e.text.as_ref().map(|p| p.perplexity);
    let rows: [(&str, Vec<String>); 6] = [
        ("held-out questions answered", cells(shipped, |s| accuracy(&s.evaluation))),
        ("perplexity, held-out chats", with_factor(shipped, chats)),
        ("perplexity, neutral text", with_factor(shipped, text)),
        (
            "KL to the trained model, weights",
            cells(shipped, |s| s.evaluation.weights.as_ref().map(|d| divergence(d.mean))),
        ),
        (
            "KL to the trained model, runtime",
            cells(shipped, |s| s.evaluation.divergence.as_ref().map(|d| divergence(d.mean))),
        ),
        ("size", cells(shipped, |s| size(&s.evaluation))),
    ];
    let heads: Vec<String> = shipped.iter().map(|s| s.name.to_owned()).collect();
    render(&heads, &rows)
}

fn cells(shipped: &[Shipped], cell: impl Fn(&Shipped) -> Option<String>) -> Vec<String> {
    shipped.iter().map(|s| cell(s).unwrap_or_else(|| "–".into())).collect()
}

/// A figure, and what multiple of the first column's it is.
fn with_factor(shipped: &[Shipped], figure: impl Fn(&Evaluation) -> Option<f64>) -> Vec<String> {
    let first = shipped.first().and_then(|s| figure(&s.evaluation));
    let cell = |(column, s): (usize, &Shipped)| match (figure(&s.evaluation), first) {
        (Some(value), Some(first)) if column > 0 => format!("{value:.2} ({:.2} ×)", value / first),
        (Some(value), _) => format!("{value:.2}"),
        (None, _) => "–".into(),
    };
    shipped.iter().enumerate().map(cell).collect()
}

fn accuracy(evaluation: &Evaluation) -> Option<String> {
    let answers = evaluation.answers.as_ref()?;
    let percent = 100.0 * answers.hits as f64 / answers.total.max(1) as f64;
    Some(format!("{} of {} ({percent:.0} %)", answers.hits, answers.total))
}

fn divergence(nats: f64) -> String {
    if nats.abs() < 1e-3 { format!("{nats:.1e}") } else { format!("{nats:.4}") }
}

fn size(evaluation: &Evaluation) -> Option<String> {
    let model = megabytes(evaluation.model.bytes?);
    Some(match evaluation.model.adapter_bytes {
        Some(adapter) => format!("{model} + {}", megabytes(adapter)),
        None => model,
    })
}

fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

fn render(heads: &[String], rows: &[(&str, Vec<String>)]) -> String {
    let width = |text: &str| text.chars().count();
    let name_width = rows.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let column_width = |column: usize| {
        let cells = rows.iter().filter_map(|(_, cells)| cells.get(column));
        cells.chain(heads.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(column_width).collect();
    let line = |name: &str, cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("  {cell:>width$}"));
        format!("{name:<name_width$}{}\n", cells.collect::<String>())
    };
    let rule = "─".repeat(name_width + widths.iter().map(|width| width + 2).sum::<usize>());
    let body: String = rows.iter().map(|(name, cells)| line(name, cells)).collect();
    format!("{}{rule}\n{body}", line("", heads))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_letters_take() {
        let heads = ["base".to_owned(), "tuned".to_owned()];
        let rows = [("size", vec!["–".to_owned(), "12 MB".to_owned()]), ("länge", vec!["1".into(), "2".into()])];
        let expected = "       base  tuned\n──────────────────\nsize      –  12 MB\nlänge     1      2\n";
        let got = render(&heads, &rows);
        assert_eq!(got, expected);
    }

    #[test]
    fn small_divergences_keep_their_digits() {
        assert_eq!(divergence(0.0123), "0.0123");
        assert_eq!(divergence(3.2e-8), "3.2e-8");
    }
}
