//! What can be done with a text: each operation's name, the phrases that ask for it, and its code.
//!
//! Owns no state. To add an operation is to add a line here.

use crate::{Answer, Problem, case, count, encode, extract, hash, json, lines};

/// One thing that can be done with a text.
pub(crate) struct Operation {
    /// Its name in the data.
    pub(crate) name: &'static str,
    /// Phrases that ask for it, in lower case, without `the` and `all`. The longest one in a
    /// question decides.
    pub(crate) phrases: &'static [&'static str],
    pub(crate) run: fn(&str) -> Result<Answer, Problem>,
}

const fn operation(
    name: &'static str,
    phrases: &'static [&'static str],
    run: fn(&str) -> Result<Answer, Problem>,
) -> Operation {
    Operation { name, phrases, run }
}

/// All there are.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation(
        "count",
        &[
            "count words",
            "word count",
            "words count",
            "how many words",
            "number of words",
            "count characters",
            "character count",
            "how many characters",
            "number of characters",
            "count letters",
            "how many letters",
            "count lines",
            "how many lines",
            "line count",
            "count sentences",
            "how many sentences",
            "length",
        ],
        count::count,
    ),
    operation(
        "frequency",
        &[
            "word frequency",
            "word frequencies",
            "most frequent words",
            "most common words",
            "most used words",
            "frequency of words",
            "count each word",
        ],
        count::frequency,
    ),
    operation(
        "uppercase",
        &["uppercase", "upper case", "to upper", "all caps", "capital letters", "caps"],
        case::upper,
    ),
    operation("lowercase", &["lowercase", "lower case", "to lower", "small letters"], case::lower),
    operation("title_case", &["title case", "titlecase", "capitalize", "capitalise"], case::title),
    operation("snake_case", &["snake case", "snakecase", "snake_case"], case::snake),
    operation("kebab_case", &["kebab case", "kebabcase", "kebab-case"], case::kebab),
    operation("camel_case", &["camel case", "camelcase"], case::camel),
    operation("pascal_case", &["pascal case", "pascalcase", "upper camel case"], case::pascal),
    operation("constant_case", &["constant case", "screaming snake case"], case::constant),
    operation("slug", &["slugify", "slug", "url slug"], case::slug),
    operation("reverse", &["reverse", "reverse text", "reverse string", "backwards"], lines::reverse_text),
    operation(
        "base64_encode",
        &["base64 encode", "base64", "encode base64", "encode base 64", "base 64 encode"],
        encode::base64_encode,
    ),
    operation(
        "base64_decode",
        &["base64 decode", "decode base64", "decode base 64", "base 64 decode", "from base64"],
        encode::base64_decode,
    ),
    operation(
        "url_encode",
        &["url encode", "urlencode", "percent encode", "url escape", "uri encode"],
        encode::url_encode,
    ),
    operation(
        "url_decode",
        &["url decode", "urldecode", "percent decode", "url unescape", "uri decode", "decode url"],
        encode::url_decode,
    ),
    operation("hex_encode", &["hex encode", "encode hex", "encode as hex"], encode::hex_encode),
    operation("hex_decode", &["hex decode", "decode hex"], encode::hex_decode),
    operation(
        "html_escape",
        &["html escape", "escape html", "html encode", "escape for html"],
        encode::html_escape,
    ),
    operation(
        "html_unescape",
        &["html unescape", "unescape html", "html decode", "decode html"],
        encode::html_unescape,
    ),
    operation("rot13", &["rot13", "rot 13"], encode::rot13),
    operation("sha256", &["sha256", "sha 256", "sha256 hash", "sha 256 hash", "hash"], hash::sha256),
    operation("sha512", &["sha512", "sha 512", "sha512 hash", "sha 512 hash"], hash::sha512),
    operation("sha1", &["sha1", "sha 1", "sha1 hash", "sha 1 hash"], hash::sha1),
    operation("md5", &["md5", "md5 hash", "md5 checksum", "md5 sum", "md5sum"], hash::md5),
    operation(
        "sort_lines",
        &["sort", "sort lines", "sort these lines", "sort this list", "alphabetize", "sort alphabetically"],
        lines::sort,
    ),
    operation(
        "sort_unique_lines",
        &["sort and deduplicate", "sort and dedupe", "sort and remove duplicates", "sort unique"],
        lines::sort_unique,
    ),
    operation(
        "deduplicate_lines",
        &[
            "deduplicate",
            "dedupe",
            "remove duplicates",
            "remove duplicate lines",
            "deduplicate lines",
            "unique lines",
            "deduplicate these lines",
            "drop duplicates",
        ],
        lines::deduplicate,
    ),
    operation(
        "reverse_lines",
        &["reverse lines", "reverse these lines", "reverse order of lines"],
        lines::reverse,
    ),
    operation("number_lines", &["number lines", "number these lines", "add line numbers"], lines::number),
    operation(
        "trim",
        &[
            "trim",
            "trim whitespace",
            "remove extra spaces",
            "collapse whitespace",
            "remove blank lines",
            "clean up whitespace",
        ],
        lines::trim,
    ),
    operation(
        "extract_emails",
        &[
            "extract emails",
            "extract email addresses",
            "find emails",
            "find email addresses",
            "email addresses",
            "list emails",
            "which emails",
        ],
        extract::emails,
    ),
    operation(
        "extract_urls",
        &[
            "extract urls",
            "extract links",
            "find urls",
            "find links",
            "list urls",
            "list links",
            "urls in",
            "links in",
        ],
        extract::urls,
    ),
    operation(
        "extract_numbers",
        &["extract numbers", "find numbers", "list numbers", "numbers in"],
        extract::numbers,
    ),
    operation(
        "validate_json",
        &[
            "validate json",
            "validate this json",
            "valid json",
            "check json",
            "check this json",
            "is this json",
        ],
        json::validate,
    ),
    operation(
        "format_json",
        &[
            "pretty print json",
            "pretty print this json",
            "format json",
            "format this json",
            "pretty json",
            "prettify json",
            "prettify this json",
            "indent json",
            "beautify json",
        ],
        json::format,
    ),
    operation(
        "minify_json",
        &["minify json", "minify this json", "compact json", "compress json"],
        json::minify,
    ),
];
