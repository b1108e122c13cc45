//! JSON in the spelling of Go's encoder.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

/// Encodes without spaces, and with the characters escaped that Go escapes for the sake of HTML
/// and JavaScript, so that a file is the same to the byte.
pub(super) fn to_vec(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Go))?;
    Ok(bytes)
}

struct Go;

impl Formatter for Go {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = fragment;
        while let Some(at) = plain.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, rest) = plain.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut characters = rest.chars();
            let escaped = characters.next().map_or(0, u32::from);
            write!(writer, "\\u{escaped:04x}")?;
            plain = characters.as_str();
        }
        writer.write_all(plain.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        CompactFormatter.write_char_escape(writer, escape)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn characters_go_escapes_are_escaped_in_keys_and_values() {
        let value = json!({"a<b": ["x&y>z", "é\u{2028}\u{2029}", "\t\"\\\n\u{1}\u{7f}"]});
        let expected = concat!(
            r#"{"a\u003cb":["x\u0026y\u003ez","é\u2028\u2029","\t\"\\\n\u0001"#,
            "\u{7f}\"]}"
        );
        let bytes = to_vec(&value).unwrap();
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap(), value);
    }
}
