//! A task: text that somebody typed, with what belongs to it.

use std::time::Instant;

use super::RequestId;

/// The longest task, in Unicode scalar values after trimming.
pub const MAX_TASK_CHARS: usize = 5_000;

/// A task's text: trimmed, 1 to [`MAX_TASK_CHARS`] characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskText(Box<str>);

/// Why a text is no task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TaskTextError {
    /// Nothing but white space.
    #[error("must not be empty: send 1 to {MAX_TASK_CHARS} characters")]
    Empty,
    /// Longer than [`MAX_TASK_CHARS`].
    #[error("has {0} characters: at most {MAX_TASK_CHARS} are allowed")]
    TooLong(usize),
}

impl TaskText {
    /// Trims and checks `text`.
    ///
    /// # Errors
    /// [`TaskTextError`] where it is empty or too long.
    pub fn parse(text: &str) -> Result<Self, TaskTextError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TaskTextError::Empty);
        }
        // A text cannot have more characters than bytes: most need no counting.
        if text.len() > MAX_TASK_CHARS {
            let chars = text.chars().count();
            if chars > MAX_TASK_CHARS {
                return Err(TaskTextError::TooLong(chars));
            }
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A task as a guest gets it.
#[derive(Debug, Clone)]
pub struct Task {
    /// What was asked.
    pub query: TaskText,
    /// What the caller gave along: JSON text.
    pub context: Option<Box<str>>,
    /// The request that this belongs to.
    pub request_id: RequestId,
    /// When the task's time is up, fixed as the task was accepted.
    pub deadline: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_characters_after_trimming() {
        assert_eq!(TaskText::parse(" \n "), Err(TaskTextError::Empty));
        assert_eq!(TaskText::parse("  hi ").map(|t| t.as_str().to_owned()), Ok("hi".into()));
        let longest = "\u{1f600}".repeat(MAX_TASK_CHARS);
        assert!(TaskText::parse(&format!(" {longest} ")).is_ok());
        assert_eq!(TaskText::parse(&format!("{longest}x")), Err(TaskTextError::TooLong(MAX_TASK_CHARS + 1)));
    }
}
