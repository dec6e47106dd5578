//! Texts of others, made fit to be shown: a guest's or a client's words are hostile wherever they
//! appear. What shows them escapes them, and bounds them.
//!
//! Escaped is what a terminal or a reader's eye would obey rather than show: control characters (C0,
//! DEL, C1), line and paragraph separators, and what changes the direction of writing.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Whether a terminal, or the eye, would obey this character rather than show it.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text in one line: nothing in it moves a cursor or begins a line.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hostile)
}

/// A text whose lines and tabs stay; nothing else in it moves a cursor.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hostile(c) && c != '\n' && c != '\t')
}

/// A text of several lines beneath another: each line but the first is set in, so that none can pass
/// for a line of ours.
pub fn set_in(text: &str) -> String {
    lines(text.trim_end()).replace('\n', "\n    ")
}

/// The known word that is nearest to `text`, if any is near: what was probably meant.
pub fn nearest<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    // Distances are quadratic; nobody misspells a key into hundreds of characters.
    if text.chars().count() > 64 {
        return None;
    }
    let plain = text.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&plain, word), *word))
        .filter(|(distance, word)| *distance <= (word.chars().count() / 4).clamp(1, 4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Whether a text is of visible ASCII characters and blanks alone, as nearly all are: found out without
/// looking at each as a character.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (0x20..0x7f).contains(&byte))
}

fn escaped(text: &str, hostile: impl Fn(char) -> bool) -> Cow<'_, str> {
    if is_plain(text) || !text.contains(&hostile) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hostile(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// The same JSON with nothing in it that a terminal would obey: such characters can only stand in
/// strings, where JSON has an escape for each.
pub fn json(text: &str) -> Cow<'_, str> {
    // A line end between values is none of a string's.
    let hostile = |c: char| is_hostile(c) && !matches!(c, '\n' | '\t' | '\r');
    if is_plain(text) || !text.contains(hostile) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hostile(c) {
            // All of them are of the basic plane. Writing to memory does not fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The beginning of a text, of at most `bytes`.
pub fn beginning(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// The beginning of a text, of at most `chars` characters; a mark at its end says that something was cut off.
pub fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Takes a text in pieces, in one line and up to a bound; what comes after it is neither made nor
/// kept: it ends whoever writes.
#[derive(Debug)]
pub struct Escaper<W> {
    out: W,
    left: usize,
    escapes: bool,
    cut: bool,
}

impl<W: Write> Escaper<W> {
    /// Writes at most `bytes` to `out`.
    pub fn new(out: W, bytes: usize) -> Self {
        Self { out, left: bytes, escapes: true, cut: false }
    }

    /// The same without escaping: for what another place shows.
    pub fn plain(out: W, bytes: usize) -> Self {
        Self { escapes: false, ..Self::new(out, bytes) }
    }

    /// What was written to; a mark at its end says that something was cut off.
    pub fn finish(mut self) -> W {
        if self.cut {
            // It took what came before.
            let _ = self.out.write_char('…');
        }
        self.out
    }

    fn take(&mut self, c: char) -> fmt::Result {
        let size = c.len_utf8();
        if size > self.left {
            self.cut = true;
            self.left = 0;
            return Err(fmt::Error);
        }
        self.left -= size;
        self.out.write_char(c)
    }
}

impl<W: Write> Write for Escaper<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let hostile = |c| self.escapes && is_hostile(c);
        if text.len() <= self.left && (is_plain(text) || !text.contains(hostile)) {
            self.left -= text.len();
            return self.out.write_str(text);
        }
        for c in text.chars() {
            if self.escapes && is_hostile(c) {
                c.escape_default().try_for_each(|c| self.take(c))?;
            } else {
                self.take(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_turns_the_text_is_shown_instead() {
        assert_eq!(line("a\nb\t\u{1b}[2J\u{7f}\u{9b}é"), r"a\nb\t\u{1b}[2J\u{7f}\u{9b}é");
        assert_eq!(lines("a\nb\t\r\u{1b}"), "a\nb\t\\r\\u{1b}");
        for c in
            ['\u{61c}', '\u{200e}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}']
        {
            assert_eq!(line(&c.to_string()), c.escape_default().to_string());
        }
        assert!(matches!(line("plain ünïcode 👩‍💻"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_stays_the_same_json() {
        let text = serde_json::to_string("\u{1b}[2J\u{9b}\u{202e}é\n").expect("JSON");
        let shown = json(&text);
        assert!(!shown.contains(is_hostile), "{shown}");
        let (before, after): (String, String) =
            (serde_json::from_str(&text).expect("JSON"), serde_json::from_str(&shown).expect("JSON"));
        assert_eq!(before, after);
    }

    #[test]
    fn an_escaper_stops_whoever_writes_too_much() {
        let mut short = Escaper::new(String::new(), 10);
        assert!(write!(short, "{}", "x".repeat(1_000_000)).is_err());
        assert_eq!(short.finish(), format!("{}…", "x".repeat(10)));
        let mut fits = Escaper::new(String::new(), 10);
        assert!(write!(fits, "a\nb").is_ok());
        assert_eq!(fits.finish(), r"a\nb");
        assert_eq!(beginning("éé", 3), "é");
    }
}
