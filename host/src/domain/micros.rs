//! A duration as it is kept and shown: whole microseconds inside, milliseconds in JSON.
//!
//! Pure. Equal durations are equal numbers, and one that is written and read is the same again.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration in whole microseconds, up to about 31 years.
///
/// In JSON it is a number of milliseconds with at most three decimals. Up to [`Micros::MAX`] such a
/// number has no more than 15 digits, which is what a double keeps: reading gives what was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(u64);

impl Micros {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest duration; longer ones become this one.
    pub const MAX: Self = Self(999_999_999_999_999);

    /// So many microseconds.
    pub const fn new(micros: u64) -> Self {
        if micros > Self::MAX.0 { Self::MAX } else { Self(micros) }
    }

    /// Its microseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Milliseconds with at most three decimals, as JSON and the log have them.
    pub fn as_ms(self) -> f64 {
        self.0 as f64 / 1e3
    }

    /// Whole milliseconds, rounded up: what takes time takes at least one.
    pub const fn whole_ms(self) -> u64 {
        self.0.div_ceil(1_000)
    }

    fn from_ms(ms: f64) -> Option<Self> {
        let micros = (ms * 1e3).round();
        // Both bounds are exact as doubles.
        (0.0..=Self::MAX.0 as f64).contains(&micros).then_some(Self(micros as u64))
    }
}

impl From<Duration> for Micros {
    /// What is finer than a microsecond is left out.
    fn from(duration: Duration) -> Self {
        Self::new(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Micros> for Duration {
    fn from(Micros(micros): Micros) -> Self {
        Self::from_micros(micros)
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_ms())
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ms = f64::deserialize(deserializer)?;
        Self::from_ms(ms).ok_or_else(|| de::Error::custom("expected milliseconds from 0 to 999999999999.999"))
    }
}

impl utoipa::PartialSchema for Micros {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::Type::Number)
            .minimum(Some(0))
            .description(Some("Milliseconds, with at most three decimals"))
            .into()
    }
}

impl utoipa::ToSchema for Micros {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Milliseconds")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_milliseconds_with_three_decimals_at_most() {
        let written = |micros| serde_json::to_string(&Micros::new(micros)).expect("JSON");
        assert_eq!(written(0), "0.0");
        assert_eq!(written(1), "0.001");
        assert_eq!(written(1_234), "1.234");
        assert_eq!(written(2_000_000), "2000.0");
        assert_eq!(written(u64::MAX), "999999999999.999");
        let read = |text: &str| serde_json::from_str::<Micros>(text).ok();
        assert_eq!(read("3"), Some(Micros::new(3_000)));
        assert_eq!(read("-1"), None);
        assert_eq!(read("1e300"), None);
        assert_eq!(Micros::from(Duration::MAX), Micros::MAX);
        assert_eq!(Micros::from(Duration::from_nanos(1_999)), Micros::new(1));
    }

    #[test]
    fn whole_milliseconds_are_rounded_up() {
        for (micros, ms) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (2_000, 2)] {
            assert_eq!(Micros::new(micros).whole_ms(), ms);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(micros in 0..=Micros::MAX.get()) {
            let text = serde_json::to_string(&Micros::new(micros)).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<Micros>(&text).expect("a number"), Micros::new(micros));
            let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
            prop_assert!(decimals <= 3, "{}", text);
        }
    }
}
