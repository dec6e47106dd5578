//! The file's text: from byte offsets to lines and columns, and the line to show below a message.
//! What might be a secret is masked before it is shown.

use std::ops::Range;

/// The most characters of a line that are shown.
const SHOWN_CHARS: usize = 120;
/// How much of a long line is shown before the place that matters.
const SHOWN_BEFORE: usize = 40;
/// Words that make a line's value a likely secret.
const SECRET_WORDS: &[&str] = &["secret", "token", "passw", "credential", "sha256", "key", "dsn"];

/// The text of agents.toml and where its lines begin.
#[derive(Debug)]
pub(super) struct Source<'s> {
    pub(super) name: &'s str,
    pub(super) text: &'s str,
    line_starts: Vec<usize>,
}

/// A line of the file with the part that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The line, without control characters, masked where need be.
    pub(super) text: String,
    /// Where the underline begins; characters from 0.
    pub(super) start: usize,
    /// How long it is; at least 1.
    pub(super) width: usize,
}

/// Whether an excerpt may show values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// Unless the line speaks of secrets.
    Plain,
    /// Never.
    Masked,
}

impl<'s> Source<'s> {
    pub(super) fn new(name: &'s str, text: &'s str) -> Self {
        let after_newlines =
            text.bytes().enumerate().filter_map(|(at, byte)| (byte == b'\n').then_some(at + 1));
        Self { name, text, line_starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// The line that `offset` is on, from 1.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Line and column of `offset`, from 1; the column in characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line_of(offset);
        let start = self.start_of(line);
        let offset = self.text.floor_char_boundary(offset.max(start));
        (line, self.text[start..offset].chars().count() + 1)
    }

    /// The text of `line`, from 1, without its line ending.
    pub(super) fn line(&self, line: usize) -> &'s str {
        let end = self.line_starts.get(line).copied().unwrap_or(self.text.len());
        self.text[self.start_of(line)..end].trim_end_matches(['\n', '\r'])
    }

    /// How many lines there are.
    pub(super) fn lines(&self) -> usize {
        self.line_starts.len()
    }

    /// The line where `span` begins, to be shown with an underline below the span.
    pub(super) fn excerpt(&self, span: &Range<usize>, sight: Sight) -> Excerpt {
        let (line, column) = self.position(span.start);
        let text = self.line(line);
        let line_end = self.start_of(line) + text.len();
        let from = self.text.floor_char_boundary(span.start);
        let to = self.text.floor_char_boundary(span.end.min(line_end));
        let width = if to > from { self.text[from..to].chars().count() } else { 1 };
        let mut chars = masked(text, sight);
        let mut start = column - 1;
        if chars.len() > SHOWN_CHARS {
            let skipped = start.saturating_sub(SHOWN_BEFORE);
            chars.drain(..skipped);
            if chars.len() > SHOWN_CHARS {
                chars.truncate(SHOWN_CHARS - 1);
                chars.push('…');
            }
            if skipped > 0 {
                chars[0] = '…';
            }
            start -= skipped;
        }
        let width = width.min(SHOWN_CHARS.saturating_sub(start)).max(1);
        Excerpt { text: chars.into_iter().collect::<String>().trim_end().to_owned(), start, width }
    }

    fn start_of(&self, line: usize) -> usize {
        self.line_starts.get(line.wrapping_sub(1)).copied().unwrap_or(self.text.len())
    }
}

/// The characters of `line`, letters and digits behind the first `=` starred where they may be secret.
fn masked(line: &str, sight: Sight) -> Vec<char> {
    let lower = line.to_ascii_lowercase();
    let url_with_login = lower.contains("://") && lower.contains('@');
    let secret =
        sight == Sight::Masked || url_with_login || SECRET_WORDS.iter().any(|word| lower.contains(word));
    let mut in_value = !line.contains('=');
    line.chars()
        .map(|c| match c {
            '\u{feff}' => ' ',
            c if c.is_control() => ' ',
            c if secret && in_value && !line.trim_start().starts_with('[') && c.is_alphanumeric() => '*',
            '=' => {
                in_value = true;
                '='
            }
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = Source::new("f", "a = 1\nbö = \"ü\" # x\r\n");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(6), (2, 1));
        assert_eq!(source.position(6 + 3), (2, 3));
        assert_eq!(source.line(2), "bö = \"ü\" # x");
        assert_eq!(source.position(10_000), (3, 1));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("a = \"{}\" oops", "x".repeat(500));
        let source = Source::new("f", &text);
        let excerpt = source.excerpt(&(507..511), Sight::Plain);
        assert!(excerpt.text.chars().count() <= SHOWN_CHARS);
        let under: String = excerpt.text.chars().skip(excerpt.start).take(excerpt.width).collect();
        assert_eq!(under, "oops");
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let text = "api_token = \"abc123\"\nplain = \"abc123\"";
        let source = Source::new("f", text);
        assert_eq!(source.excerpt(&(0..9), Sight::Plain).text, "api_token = \"******\"");
        assert_eq!(source.excerpt(&(21..26), Sight::Plain).text, "plain = \"abc123\"");
        assert_eq!(source.excerpt(&(21..26), Sight::Masked).text, "plain = \"******\"");
    }
}
