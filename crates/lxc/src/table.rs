//! Tables as `lxc` draws them, and the same rows as CSV or compact text.

use std::borrow::Cow;

use crate::output;

/// Rows under headers.
#[derive(Debug)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
    colour: Option<fn(header: &str, cell: &str) -> Option<&'static str>>,
}

impl Table {
    /// A table without rows.
    pub fn new<S: Into<String>>(headers: impl IntoIterator<Item = S>) -> Self {
        Self { headers: headers.into_iter().map(Into::into).collect(), rows: Vec::new(), colour: None }
    }

    /// Adds a row: one cell a column, cells may have several lines. What would steer a terminal is
    /// shown instead.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let shown = |cell: S| {
            let cell = cell.into();
            match output::safe(&cell) {
                Cow::Owned(shown) => shown,
                Cow::Borrowed(_) => cell,
            }
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Colours cells by the escape code that `colour` gives.
    pub fn coloured(mut self, colour: fn(header: &str, cell: &str) -> Option<&'static str>) -> Self {
        self.colour = Some(colour);
        self
    }

    /// Sorts by the columns in order; rows with an empty first cell come last.
    pub fn sort(&mut self) {
        self.rows.sort_by(|a, b| {
            let is_empty = |row: &Vec<String>| row.first().is_none_or(String::is_empty);
            is_empty(a).cmp(&is_empty(b)).then_with(|| a.cmp(b))
        });
    }

    /// Bordered, with a rule between all rows.
    pub fn bordered(&self) -> String {
        let widths = self.widths();
        let rule = self.rule(&widths);
        let mut text = String::with_capacity(2 * rule.len() * (self.rows.len() + 2));
        text.push_str(&rule);
        text.push('|');
        for (header, width) in self.headers.iter().zip(&widths) {
            let blank = width - width_of(header);
            let left = blank / 2;
            push_blanks(&mut text, left + 1);
            text.push_str(header);
            push_blanks(&mut text, blank - left + 1);
            text.push('|');
        }
        text.push('\n');
        text.push_str(&rule);
        for row in &self.rows {
            self.bordered_row(&mut text, row, &widths);
            text.push_str(&rule);
        }
        text
    }

    /// Columns apart by blanks, no rules.
    pub fn compact(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        let headers: Vec<&str> = self.headers.iter().map(String::as_str).collect();
        compact_line(&mut text, &headers, &widths);
        for row in &self.rows {
            let lines: Vec<Vec<&str>> = row.iter().map(|cell| cell.split('\n').collect()).collect();
            for index in 0..lines.iter().map(Vec::len).max().unwrap_or(0) {
                let cells: Vec<&str> = lines.iter().map(|cell| cell.get(index).copied().unwrap_or("")).collect();
                compact_line(&mut text, &cells, &widths);
            }
        }
        text
    }

    /// Comma-separated values without headers.
    pub fn csv(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| csv_cell(cell)).collect();
            text.push_str(&cells.join(","));
            text.push('\n');
        }
        text
    }

    fn bordered_row(&self, text: &mut String, row: &[String], widths: &[usize]) {
        // What is left of each cell: the lines below the one being written.
        let mut rest: Vec<Option<&str>> = row.iter().map(|cell| Some(cell.as_str())).collect();
        while rest.iter().any(Option::is_some) {
            text.push('|');
            for ((cell, width), header) in rest.iter_mut().zip(widths).zip(&self.headers) {
                let (part, below) = match cell.and_then(|cell| cell.split_once('\n')) {
                    Some((part, below)) => (part, Some(below)),
                    None => (cell.unwrap_or_default(), None),
                };
                *cell = below;
                text.push(' ');
                match self.colour.and_then(|colour| colour(header, part)) {
                    Some(code) => text.extend(["\x1b[", code, "m", part, "\x1b[0m"]),
                    None => text.push_str(part),
                }
                push_blanks(text, width - width_of(part) + 1);
                text.push('|');
            }
            text.push('\n');
        }
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headers.iter().map(|header| width_of(header)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.split('\n').map(width_of).max().unwrap_or(0).max(*width);
            }
        }
        widths
    }

    fn rule(&self, widths: &[usize]) -> String {
        let mut rule = String::from("+");
        for width in widths {
            rule.push_str(&"-".repeat(width + 2));
            rule.push('+');
        }
        rule.push('\n');
        rule
    }
}

fn push_blanks(text: &mut String, count: usize) {
    text.extend(std::iter::repeat_n(' ', count));
}

fn compact_line(text: &mut String, cells: &[&str], widths: &[usize]) {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(&format!("  {cell}{}", " ".repeat(width - width_of(cell))));
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

fn csv_cell(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) || cell.starts_with(' ') {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

fn width_of(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(["NAME", "STATE", "IPV4", "IPV6", "TYPE", "SNAPSHOTS"]);
        table.row(["c1", "STOPPED", "", "", "PERSISTENT", "0"]);
        table
    }

    #[test]
    fn bordered_golden() {
        let expected = "\
+------+---------+------+------+------------+-----------+
| NAME |  STATE  | IPV4 | IPV6 |    TYPE    | SNAPSHOTS |
+------+---------+------+------+------------+-----------+
| c1   | STOPPED |      |      | PERSISTENT | 0         |
+------+---------+------+------+------------+-----------+
";
        assert_eq!(sample().bordered(), expected);
    }

    #[test]
    fn empty_table_is_its_header() {
        let expected = "\
+------+-----+
| NAME | URL |
+------+-----+
";
        assert_eq!(Table::new(["NAME", "URL"]).bordered(), expected);
    }

    #[test]
    fn several_lines_and_wide_characters() {
        let mut table = Table::new(["NAME", "IPV4"]);
        table.row(["é", "10.0.0.2 (eth0)\n10.0.0.3 (eth1)"]);
        table.row(["b", ""]);
        let expected = "\
+------+-----------------+
| NAME |      IPV4       |
+------+-----------------+
| é    | 10.0.0.2 (eth0) |
|      | 10.0.0.3 (eth1) |
+------+-----------------+
| b    |                 |
+------+-----------------+
";
        assert_eq!(table.bordered(), expected);
        let compact = "  NAME  IPV4\n  é     10.0.0.2 (eth0)\n        10.0.0.3 (eth1)\n  b\n";
        assert_eq!(table.compact(), compact);
        assert_eq!(table.csv(), "é,\"10.0.0.2 (eth0)\n10.0.0.3 (eth1)\"\nb,\n");
    }

    #[test]
    fn rows_without_first_cell_come_last() {
        let mut table = Table::new(["ALIAS", "FINGERPRINT"]);
        for row in [["", "aa"], ["b", "bb"], ["a", "cc"], ["", "00"]] {
            table.row(row);
        }
        table.sort();
        assert_eq!(table.csv(), "a,cc\nb,bb\n,00\n,aa\n");
    }

    #[test]
    fn cells_cannot_steer_the_terminal() {
        let mut table = Table::new(["NAME"]);
        table.row(["\u{1b}[2J\ra"]);
        assert_eq!(table.bordered().lines().nth(3), Some("| \\u001b[2J\\u000da |"));
        assert_eq!(table.csv(), "\\u001b[2J\\u000da\n");
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let mut table = Table::new(["STATE"]).coloured(|_, cell| (cell == "RUNNING").then_some("32"));
        table.row(["RUNNING"]);
        table.row(["STOPPED"]);
        assert!(table.bordered().contains("| \x1b[32mRUNNING\x1b[0m |\n"));
    }
}
