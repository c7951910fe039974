//! The measurements as Markdown.

use super::figures::Figures;
use super::training::Peak;

/// Products of one token, forward and backward through a frozen base, SmolLM2-135M's matrices and its tied head:
/// `2 · 134.5M` operations each way. Attention and adapters are left out.
const FLOP_PER_TOKEN: f64 = 4.0 * 134.5e6;

/// One line a training, with its share of what the machine's f32 products reach.
pub fn table(peak: &Peak, rows: &[(&str, Figures)]) -> String {
    let mut text = format!(
        "{}, {} threads; PyTorch's products reach {:.0} GFLOP/s in f32 and {:.0} in bf16.\n\n\
         | training SmolLM2-135M, rank 16 | by | tokens/s | of the f32 peak | peak anonymous | peak resident |\n\
         |---|---|---|---|---|---|\n",
        peak.cpu, peak.threads, peak.f32, peak.bf16
    );
    for (what, figures) in rows {
        let share = figures.tokens_per_second * FLOP_PER_TOKEN / (1e9 * peak.f32);
        text += &format!(
            "| {what} | {} | {:.0} | {:.0} % | {:.0} MB | {:.0} MB |\n",
            figures.name,
            figures.tokens_per_second,
            100.0 * share,
            figures.anonymous as f64 / 1e6,
            figures.resident as f64 / 1e6,
        );
    }
    text
}
