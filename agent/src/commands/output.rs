//! What commands print.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle};
use serde::Serialize;

use crate::failure::Failure;

/// A header, a light line, rows; nothing at the sides.
const STYLE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none())
    .header_separator(LineStyle::none().fill('─'))
    .content_lines(ContentLineStyle::none());

/// Writes bytes to standard output as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::reader_left();
        }
        Failure::failed(format!("standard output cannot be written: {error}"))
    })
}

/// Writes a value byte for byte; where a person looks on, the prompt gets a line of its own.
pub(crate) fn value(value: &[u8]) -> Result<(), Failure> {
    bytes(value)?;
    if io::stdout().is_terminal() && !value.ends_with(b"\n") { bytes(b"\n") } else { Ok(()) }
}

/// Writes one line of data.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes JSON for people who pipe it and for programs: indented, keys in order.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(format!("the answer has no JSON form: {error}")))?;
    line(&text)
}

/// Writes JSON on one line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::failed(format!("the answer has no JSON form: {error}")))?;
    line(&text)
}

/// Writes a table.
pub(crate) fn table(
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Result<(), Failure> {
    bytes(render_table(header, rows).as_bytes())
}

/// Writes names and values, one a line.
pub(crate) fn fields(rows: &[(&str, String)]) -> Result<(), Failure> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let text: String =
        rows.iter().map(|(name, value)| format!("{name:width$}  {}\n", printable(value))).collect();
    bytes(text.as_bytes())
}

fn render_table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Shows control characters as escapes: what other nodes wrote must not steer this terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, character| {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
        out
    })
}

/// Shows what may be absent.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Says something to the person who runs the command.
pub(crate) fn say(text: &str) {
    // Nothing can be done about a terminal that does not take the text.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says why the command failed, once; nothing where nobody is to blame.
pub(crate) fn complain(failure: &Failure) {
    if failure.code() != 0 {
        say(&failure.report());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_header_a_line_and_rows_and_nothing_at_the_sides() {
        let rows = vec![
            vec!["blue".to_owned(), "10.128.0.0/20".to_owned()],
            vec!["a-longer-name".to_owned(), "-".to_owned()],
        ];
        let text = render_table(&["NAME", "SUBNET"], rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "NAME           SUBNET");
        assert!(lines[1].chars().all(|c| c == '─'), "{text}");
        assert_eq!(lines[2], "blue           10.128.0.0/20");
        assert_eq!(lines[3], "a-longer-name  -");
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n é"), "a\\u{1b}[2Jb\\n é");
    }
}
