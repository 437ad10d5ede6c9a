//! The table, in Markdown.

use std::fmt::Write;

use super::modes::Mode;

/// How often it went well.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cell {
    pub passes: usize,
    pub total: usize,
}

/// One guest on one kind of storage.
#[derive(Debug, Default)]
pub struct Row {
    pub guest: &'static str,
    pub storage: &'static str,
    pub ids: &'static str,
    pub cells: Vec<Cell>,
    /// Why none of it can be done on this machine.
    pub impossible: Option<String>,
    /// How long guests stood still for snapshots, in ms.
    pub still: Vec<u64>,
    /// How long stops and starts took, in ms.
    pub round_trips: Vec<u64>,
    pub failures: Vec<String>,
}

/// The table with its failures.
pub fn table(modes: &[&Mode], rows: &[Row]) -> String {
    let mut head = vec!["guest".to_owned(), "storage".into(), "ids".into()];
    head.extend(modes.iter().map(|mode| mode.title.to_owned()));
    head.extend(["stands still for a snapshot".into(), "stop + start".into()]);
    let mut lines = vec![head];
    for row in rows {
        let mut line = vec![row.guest.to_owned(), row.storage.into(), row.ids.into()];
        let show = |cell: &Cell| if row.impossible.is_some() { "-".to_owned() } else { format!("{}/{}", cell.passes, cell.total) };
        line.extend(row.cells.iter().map(show));
        line.extend([median(&row.still), median(&row.round_trips)]);
        lines.push(line);
    }
    let mut text = columns(&lines);
    let sum = |of: fn(&Cell) -> usize| rows.iter().filter(|row| row.impossible.is_none()).flat_map(|row| &row.cells).map(of).sum::<usize>();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\n{} of {} passed.", sum(|cell| cell.passes), sum(|cell| cell.total));
    for row in rows {
        let name = format!("{} on {}, {}", row.guest, row.storage, row.ids);
        if let Some(reason) = &row.impossible {
            let _ = writeln!(text, "\n{name}: not possible on this machine: {reason}");
        }
        for failure in &row.failures {
            let _ = writeln!(text, "\nFailed: {name}: {}", failure.trim_end().replace('\n', "\n    "));
        }
    }
    text
}

fn median(values: &[u64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).map_or("-".into(), |value| format!("{value} ms"))
}

fn columns(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().filter_map(|line| Some(line.get(column)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if index == 0 {
            widths.iter().for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::modes::MODES;
    use super::*;

    #[test]
    fn passes_are_counted() {
        let modes: Vec<&Mode> = MODES.iter().take(2).collect();
        let cells = vec![Cell { passes: 1, total: 2 }, Cell { passes: 2, total: 2 }];
        let rows = [
            Row {
                guest: "one",
                storage: "dir",
                cells: cells.clone(),
                still: vec![30, 10, 20],
                failures: vec!["it broke".into()],
                ..Row::default()
            },
            Row { guest: "two", storage: "dir", cells, impossible: Some("no".into()), ..Row::default() },
        ];
        let text = table(&modes, &rows);
        assert!(text.contains("| 1/2 ") && text.contains("| 20 ms ") && text.contains("3 of 4 passed."), "{text}");
        assert!(text.contains("Failed: one on dir, : it broke") && text.contains("two on dir, : not possible"), "{text}");
    }
}
