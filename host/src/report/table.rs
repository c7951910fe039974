//! Plain text columns.

/// Rows of text under a title row, aligned by column.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with titles.
    pub fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(|t| (*t).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The text: two blanks between columns, none at the end of a line; columns without any content are left out.
    pub fn render(&self) -> String {
        let width = |column: usize, rows: &[Vec<String>]| {
            rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
        };
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let shown: Vec<usize> = (0..columns).filter(|&c| width(c, &self.rows[1..]) > 0).collect();
        let mut out = String::new();
        for row in &self.rows {
            let cell = |&column: &usize| {
                let text = row.get(column).map(String::as_str).unwrap_or_default();
                format!("{text:<width$}", width = width(column, &self.rows))
            };
            let line = shown.iter().map(cell).collect::<Vec<_>>().join("  ");
            out += line.trim_end();
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_empty_ones_vanish() {
        let mut table = Table::new(&["stage", "gpu", "time"]);
        table.row(vec!["a".into(), String::new(), "1 s".into()]);
        table.row(vec!["longer".into(), String::new(), "20 s".into()]);
        assert_eq!(table.render(), "stage   time\na       1 s\nlonger  20 s\n");
    }
}
