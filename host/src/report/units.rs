//! Bytes and times as people read and write them. Sizes are decimal, as on disks and in file listings.

const UNITS: [(&str, f64); 4] = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];

/// `1.23 GB`
pub fn bytes(count: u64) -> String {
    let value = count as f64;
    match UNITS.iter().find(|(_, size)| value >= *size) {
        Some((unit, size)) => {
            let scaled = value / size;
            let digits = if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) };
            format!("{scaled:.digits$} {unit}")
        }
        None => format!("{count} B"),
    }
}

/// `0.4 s`, `2 min 5 s`, `3 h 20 min`
pub fn seconds(time: f64) -> String {
    let whole = time.round() as u64;
    match whole {
        0..=9 => format!("{time:.1} s"),
        10..=59 => format!("{whole} s"),
        60..=3599 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Reads `12G`, `1.5 GB`, `512MiB`, `4096`: decimal unless there is an `i`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim().to_ascii_lowercase());
    let (base, prefix) = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('i')) {
        Some(prefix) => (1024_f64, prefix),
        None => (1000_f64, unit.strip_suffix('b').unwrap_or(&unit)),
    };
    let power = ["", "k", "m", "g", "t"].iter().position(|p| *p == prefix);
    let value = number.parse::<f64>().ok().zip(power).map(|(n, p)| n * base.powi(p as i32));
    match value {
        Some(value) if value.is_finite() => Ok(value as u64),
        _ => Err("expected a size such as `12G`, `512MiB` or `4096`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, value) in [
            ("12G", 12_000_000_000),
            ("1.5 GB", 1_500_000_000),
            ("512MiB", 512 << 20),
            ("4096", 4096),
            ("2Ki", 2048),
            ("7kB", 7000),
        ] {
            assert_eq!(parse_bytes(text), Ok(value), "{text}");
        }
        for text in ["", "G", "12X", "-3", "1..2G"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        assert_eq!(
            [0, 999, 1234, 98_700_000, 12_300_000_000].map(bytes),
            ["0 B", "999 B", "1.23 kB", "98.7 MB", "12.3 GB"]
        );
    }

    #[test]
    fn times_are_short() {
        assert_eq!(
            [0.04, 9.4, 59.0, 125.0, 12000.0].map(seconds),
            ["0.0 s", "9.4 s", "59 s", "2 min 5 s", "3 h 20 min"]
        );
    }
}
