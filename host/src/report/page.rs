//! The final report as one HTML file that needs nothing else: tables, and each series as an SVG curve.

use super::run_report::{RunReport, StageReport, figure};
use super::{Series, bytes, seconds};

const STYLE: &str = include_str!("page.css");
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 200.0;

/// The page's text.
pub fn page(report: &RunReport, series: &Series) -> String {
    let title = escaped(&report.pipeline);
    let rows: String = report.stages.iter().map(row).collect();
    let curves: String = series.lines().map(|(stage, name, points)| curve(stage, name, points)).collect();
    let error = report.error.as_ref().and_then(|e| e.get("message")?.as_str());
    let error = error.map(|e| format!("<p class=error>{}</p>", escaped(e))).unwrap_or_default();
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>\
         <h1>{title}</h1><p>{} in {}</p>{error}\
         <table><tr><th>stage<th>uses<th>result<th>time<th>memory<th>planned<th>figures<th>outputs</tr>{rows}</table>\
         {curves}</html>\n",
        escaped(&report.run_dir.display().to_string()),
        seconds(report.seconds),
    )
}

fn row(stage: &StageReport) -> String {
    let size = |count: Option<u64>| count.map(bytes).unwrap_or_default();
    let metrics = stage.metrics.iter().map(|(name, value)| format!("{} {}", escaped(name), figure(*value)));
    let outputs = stage.outputs.iter().map(|(port, output)| {
        let path = escaped(&output.path.display().to_string());
        format!("{} ({}): <code>{path}</code>", escaped(port), bytes(output.bytes))
    });
    let findings = stage.findings.iter().map(|f| {
        format!("<tr class=finding><td><td colspan=7>{:?}: {}</tr>", f.severity, escaped(&f.message)).to_lowercase()
    });
    let cells = [
        escaped(&stage.stage),
        escaped(&stage.uses),
        if stage.cached { "cached".into() } else { "made".into() },
        seconds(stage.seconds),
        size(stage.memory),
        size(stage.planned_memory),
        metrics.collect::<Vec<_>>().join("<br>"),
        outputs.collect::<Vec<_>>().join("<br>"),
    ];
    format!("<tr><td>{}</tr>{}", cells.join("<td>"), findings.collect::<String>())
}

fn curve(stage: &str, name: &str, points: &[(u64, f64)]) -> String {
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (first, last) = range(&mut points.iter().map(|p| p.0 as f64));
    let (low, high) = range(&mut points.iter().map(|p| p.1));
    let scaled = |value: f64, low: f64, high: f64, size: f64| {
        if high > low { (value - low) / (high - low) * size } else { size / 2.0 }
    };
    let path: Vec<String> = points
        .iter()
        .map(|&(step, value)| {
            let (x, y) = (scaled(step as f64, first, last, WIDTH), HEIGHT - scaled(value, low, high, HEIGHT));
            format!("{x:.1},{y:.1}")
        })
        .collect();
    format!(
        "<figure><figcaption>{} of {}, {} to {} over steps {first} to {last}</figcaption>\
         <svg viewBox=\"-4 -4 {} {}\" role=img><polyline points=\"{}\"/></svg></figure>",
        escaped(name),
        escaped(stage),
        figure(points[0].1),
        figure(points[points.len() - 1].1),
        WIDTH + 8.0,
        HEIGHT + 8.0,
        path.join(" "),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_series_become_curves() {
        let mut series = Series::default();
        series.add("train", "loss<", 0, Some(2.0));
        series.add("train", "loss<", 10, Some(1.0));
        let report = RunReport::new("<b>", "/runs".as_ref());
        let text = page(&report, &series);
        assert!(text.contains("<h1>&lt;b&gt;</h1>"), "{text}");
        assert!(text.contains("loss&lt; of train, 2 to 1 over steps 0 to 10"), "{text}");
        assert!(text.contains("points=\"0.0,0.0 640.0,200.0\""), "{text}");
    }
}
