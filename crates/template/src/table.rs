//! Aligns columns as docker's `table` formats do: cells are separated by tabs, a column is as wide
//! as its widest cell and three blanks, and the last cell of a line is not padded.

/// The blanks between two columns, and the smallest width of one.
const GAP: usize = 3;
const NARROWEST: usize = 10;

/// Aligns the tab-separated cells of `lines`.
pub fn align(lines: &[String]) -> String {
    let rows: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        // The last cell of a row ends no column.
        let cells = rows.iter().filter(|row| row.len() > column + 1).map(|row| row[column]);
        cells.map(|cell| cell.chars().count() + GAP).max().unwrap_or(0).max(NARROWEST)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                let blanks = widths[column].saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        out.push('\n');
    }
    out
}
