//! The languages that words can be reduced to their stems in (Snowball, <https://snowballstem.org>).
//!
//! A table and nothing else. Text in a language that is not here is routed all the same, by
//! whole words or, where a script has no spaces, by pairs of characters: that is [`Language::Other`].

use frostem::Algorithm;
use serde::{Deserialize, Serialize};

/// A language by which words are stemmed. Written as its ISO 639-1 code in configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// Arabic.
    #[serde(rename = "ar")]
    Arabic,
    /// Armenian.
    #[serde(rename = "hy")]
    Armenian,
    /// Basque.
    #[serde(rename = "eu")]
    Basque,
    /// Catalan.
    #[serde(rename = "ca")]
    Catalan,
    /// Czech.
    #[serde(rename = "cs")]
    Czech,
    /// Danish.
    #[serde(rename = "da")]
    Danish,
    /// Dutch.
    #[serde(rename = "nl")]
    Dutch,
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Esperanto.
    #[serde(rename = "eo")]
    Esperanto,
    /// Estonian.
    #[serde(rename = "et")]
    Estonian,
    /// Finnish.
    #[serde(rename = "fi")]
    Finnish,
    /// French.
    #[serde(rename = "fr")]
    French,
    /// German.
    #[serde(rename = "de")]
    German,
    /// Greek.
    #[serde(rename = "el")]
    Greek,
    /// Hindi.
    #[serde(rename = "hi")]
    Hindi,
    /// Hungarian.
    #[serde(rename = "hu")]
    Hungarian,
    /// Indonesian.
    #[serde(rename = "id")]
    Indonesian,
    /// Irish.
    #[serde(rename = "ga")]
    Irish,
    /// Italian.
    #[serde(rename = "it")]
    Italian,
    /// Lithuanian.
    #[serde(rename = "lt")]
    Lithuanian,
    /// Nepali.
    #[serde(rename = "ne")]
    Nepali,
    /// Norwegian.
    #[serde(rename = "no")]
    Norwegian,
    /// Persian.
    #[serde(rename = "fa")]
    Persian,
    /// Polish.
    #[serde(rename = "pl")]
    Polish,
    /// Portuguese.
    #[serde(rename = "pt")]
    Portuguese,
    /// Romanian.
    #[serde(rename = "ro")]
    Romanian,
    /// Russian.
    #[serde(rename = "ru")]
    Russian,
    /// Serbian.
    #[serde(rename = "sr")]
    Serbian,
    /// Spanish.
    #[serde(rename = "es")]
    Spanish,
    /// Swedish.
    #[serde(rename = "sv")]
    Swedish,
    /// Tamil.
    #[serde(rename = "ta")]
    Tamil,
    /// Turkish.
    #[serde(rename = "tr")]
    Turkish,
    /// Ukrainian.
    #[serde(rename = "uk")]
    Ukrainian,
    /// Yiddish.
    #[serde(rename = "yi")]
    Yiddish,
    /// Any other: words count as they are written.
    #[serde(rename = "other")]
    Other,
}

impl Language {
    /// Every language, in the order of their names.
    pub const ALL: &'static [Language] = &[
        Language::Arabic,
        Language::Armenian,
        Language::Basque,
        Language::Catalan,
        Language::Czech,
        Language::Danish,
        Language::Dutch,
        Language::English,
        Language::Esperanto,
        Language::Estonian,
        Language::Finnish,
        Language::French,
        Language::German,
        Language::Greek,
        Language::Hindi,
        Language::Hungarian,
        Language::Indonesian,
        Language::Irish,
        Language::Italian,
        Language::Lithuanian,
        Language::Nepali,
        Language::Norwegian,
        Language::Persian,
        Language::Polish,
        Language::Portuguese,
        Language::Romanian,
        Language::Russian,
        Language::Serbian,
        Language::Spanish,
        Language::Swedish,
        Language::Tamil,
        Language::Turkish,
        Language::Ukrainian,
        Language::Yiddish,
        Language::Other,
    ];

    /// The language with this ISO 639-1 code (`en`, `de`, ...) or `other`; case does not matter.
    pub fn from_code(code: &str) -> Option<Language> {
        Self::ALL.iter().copied().find(|language| language.code().eq_ignore_ascii_case(code.trim()))
    }

    /// The ISO 639-1 code, or `other`.
    pub fn code(self) -> &'static str {
        match self {
            Language::Arabic => "ar",
            Language::Armenian => "hy",
            Language::Basque => "eu",
            Language::Catalan => "ca",
            Language::Czech => "cs",
            Language::Danish => "da",
            Language::Dutch => "nl",
            Language::English => "en",
            Language::Esperanto => "eo",
            Language::Estonian => "et",
            Language::Finnish => "fi",
            Language::French => "fr",
            Language::German => "de",
            Language::Greek => "el",
            Language::Hindi => "hi",
            Language::Hungarian => "hu",
            Language::Indonesian => "id",
            Language::Irish => "ga",
            Language::Italian => "it",
            Language::Lithuanian => "lt",
            Language::Nepali => "ne",
            Language::Norwegian => "no",
            Language::Persian => "fa",
            Language::Polish => "pl",
            Language::Portuguese => "pt",
            Language::Romanian => "ro",
            Language::Russian => "ru",
            Language::Serbian => "sr",
            Language::Spanish => "es",
            Language::Swedish => "sv",
            Language::Tamil => "ta",
            Language::Turkish => "tr",
            Language::Ukrainian => "uk",
            Language::Yiddish => "yi",
            Language::Other => "other",
        }
    }

    /// The Snowball algorithm of this language.
    pub(crate) fn algorithm(self) -> Option<Algorithm> {
        Some(match self {
            Language::Arabic => Algorithm::Arabic,
            Language::Armenian => Algorithm::Armenian,
            Language::Basque => Algorithm::Basque,
            Language::Catalan => Algorithm::Catalan,
            Language::Czech => Algorithm::Czech,
            Language::Danish => Algorithm::Danish,
            Language::Dutch => Algorithm::Dutch,
            Language::English => Algorithm::English,
            Language::Esperanto => Algorithm::Esperanto,
            Language::Estonian => Algorithm::Estonian,
            Language::Finnish => Algorithm::Finnish,
            Language::French => Algorithm::French,
            Language::German => Algorithm::German,
            Language::Greek => Algorithm::Greek,
            Language::Hindi => Algorithm::Hindi,
            Language::Hungarian => Algorithm::Hungarian,
            Language::Indonesian => Algorithm::Indonesian,
            Language::Irish => Algorithm::Irish,
            Language::Italian => Algorithm::Italian,
            Language::Lithuanian => Algorithm::Lithuanian,
            Language::Nepali => Algorithm::Nepali,
            Language::Norwegian => Algorithm::Norwegian,
            Language::Persian => Algorithm::Persian,
            Language::Polish => Algorithm::Polish,
            Language::Portuguese => Algorithm::Portuguese,
            Language::Romanian => Algorithm::Romanian,
            Language::Russian => Algorithm::Russian,
            Language::Serbian => Algorithm::Serbian,
            Language::Spanish => Algorithm::Spanish,
            Language::Swedish => Algorithm::Swedish,
            Language::Tamil => Algorithm::Tamil,
            Language::Turkish => Algorithm::Turkish,
            Language::Ukrainian => Algorithm::Ukrainian,
            Language::Yiddish => Algorithm::Yiddish,
            Language::Other => return None,
        })
    }
}
