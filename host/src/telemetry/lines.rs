//! How an event becomes a line: as text, or as JSON.
//!
//! What guests and clients wrote is escaped and bounded here and nowhere else, so that no place that logs
//! something can forget to.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::event::Event as Known;
use crate::domain::text::{self, Escaper};

/// The most that is shown of a value, in bytes.
pub(super) const MAX_VALUE: usize = 8 * 1024;

/// A message and its fields on one line of text, whatever they hold.
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = TextVisitor { writer, first: true, written: Ok(()) };
        fields.record(&mut visitor);
        visitor.written
    }
}

struct TextVisitor<'w> {
    writer: Writer<'w>,
    first: bool,
    written: fmt::Result,
}

impl TextVisitor<'_> {
    fn show(&mut self, field: &Field, value: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::take(&mut self.first) {
            self.writer.write_char(' ')?;
        }
        match field.name() {
            "message" => {}
            name if self.writer.has_ansi_escapes() => {
                write!(self.writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?;
            }
            name => write!(self.writer, "{name}=")?,
        }
        let mut escaper = Escaper::new(&mut self.writer, MAX_VALUE);
        // What is too long is cut, which is no failure here.
        let _ = escaper.write_fmt(value);
        escaper.finish();
        Ok(())
    }
}

impl Visit for TextVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.written.is_ok() {
            self.written = self.show(field, format_args!("{value:?}"));
        }
    }
}

/// An event as an object of JSON on a line, its fields next to its message.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let mut line = format!("{{\"timestamp\":\"{time}\",\"level\":\"{}\"", metadata.level());
        if let Some(event) = Known::of(metadata.name()) {
            write!(line, ",\"event\":\"{}\"", event.name())?;
        }
        event.record(&mut JsonVisitor { line: &mut line });
        write!(line, ",\"target\":{}}}", quoted(metadata.target()))?;
        writeln!(writer, "{}", text::json(&line))
    }
}

struct JsonVisitor<'l> {
    line: &'l mut String,
}

impl JsonVisitor<'_> {
    fn add(&mut self, field: &Field, value: impl fmt::Display) {
        // Writing to memory does not fail.
        let _ = write!(self.line, ",{}:{value}", quoted(field.name()));
    }
}

impl Visit for JsonVisitor<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, serde_json::Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, quoted(&shortened(value, MAX_VALUE)));
    }
}

/// The beginning of a value, as it is.
pub(super) fn shortened(value: &dyn Debug, bytes: usize) -> String {
    let mut text = Escaper::plain(String::new(), bytes);
    // What is too long is cut, which is no failure here.
    let _ = write!(text, "{value:?}");
    text.finish()
}

fn quoted(text: &str) -> serde_json::Value {
    text.into()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const HOSTILE: &str = "a\nFORGED \u{1b}[2J\u{9b}\u{202e}\u{2028}b";

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(json: bool, log: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .fmt_fields(TextFields)
            .with_writer(move || writer.clone());
        let layer = if json { layer.event_format(JsonLines).boxed() } else { layer.boxed() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = page.0.lock().clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    fn everything() {
        let huge = "x".repeat(100_000);
        let nothing: Option<&str> = None;
        tracing::info!(shown = %HOSTILE, text = HOSTILE, debug = ?HOSTILE, nothing, huge, count = 3_u64, ms = 1.5, "{HOSTILE}");
    }

    #[test]
    fn an_event_is_one_line_of_text_whatever_it_holds() {
        let text = logged(false, everything);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(!text.trim_end().contains(text::is_hostile), "{text}");
        for part in
            [r"a\nFORGED \u{1b}[2J\u{9b}\u{202e}\u{2028}b shown=a\nFORGED", "text=\"a\\n", "count=3 ms=1.5"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.len() < 2 * MAX_VALUE && text.contains("xx…"), "{}", text.len());
    }

    #[test]
    fn json_says_the_same_as_was_logged_and_moves_no_cursor_either() {
        let text = logged(true, everything);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(!text.trim_end().contains(text::is_hostile), "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&line["message"], &line["shown"], &line["text"]),
            (&HOSTILE.into(), &HOSTILE.into(), &HOSTILE.into())
        );
        assert_eq!((&line["level"], &line["count"], &line["ms"]), (&"INFO".into(), &3.into(), &1.5.into()));
        assert!(line.get("nothing").is_none() && line["timestamp"].is_string() && line["target"].is_string());
        assert!(text.len() < 2 * MAX_VALUE, "{}", text.len());
    }
}
