//! Long lists in pieces: `?limit&cursor`, the next piece in `Link`. Without a `limit`, a piece is the
//! largest there is: no request makes the host write a list of any length.
//!
//! Pure. A list is sorted by id, and a cursor is the last id of the piece before: agents may come
//! and go between two pieces without one being skipped or shown twice.

use http::{HeaderValue, Uri};

use super::error::ApiError;

/// The most that one piece holds, and what it holds where nothing else is asked for.
const MAX_LIMIT: usize = 1_000;

/// Which piece of a list is asked for, and what else the query says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Only this category.
    pub(super) category: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

impl Page {
    /// Reads a query string; unknown parameters are ignored.
    pub(super) fn of(uri: &Uri) -> Result<Self, ApiError> {
        let pairs: Vec<(String, String)> = axum::extract::Query::try_from_uri(uri)
            .map(|query| query.0)
            .map_err(|_| ApiError::InvalidRequest {
                field: None,
                message: "the query string cannot be read".to_owned(),
            })?;
        let mut page = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                // An empty choice is no choice.
                "category" => page.category = Some(value).filter(|value| !value.is_empty()),
                "cursor" => page.cursor = Some(value),
                "limit" => page.limit = Some(limit(&value)?),
                _ => {}
            }
        }
        Ok(page)
    }

    /// Takes this piece of what `items`, sorted by `id`, gives. The id to go on from comes along
    /// where there is more.
    pub(super) fn take<T>(
        &self,
        items: impl Iterator<Item = T>,
        id: impl Fn(&T) -> &str,
    ) -> (Vec<T>, Option<String>) {
        let cursor = self.cursor.as_deref();
        let mut rest = items.filter(|item| cursor.is_none_or(|cursor| id(item) > cursor));
        let piece: Vec<T> = rest.by_ref().take(self.limit.unwrap_or(MAX_LIMIT)).collect();
        let next = rest.next().and(piece.last()).map(|last| id(last).to_owned());
        (piece, next)
    }
}

fn limit(text: &str) -> Result<usize, ApiError> {
    text.parse()
        .ok()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| ApiError::field("limit", format_args!("must be a number from 1 to {MAX_LIMIT}")))
}

/// The `Link` header that names the next piece: the same query with another cursor. `next` is an
/// agent's id, which needs no escaping.
pub(super) fn link(uri: &Uri, next: &str) -> Option<HeaderValue> {
    let mut link = format!("<{}?", uri.path());
    for pair in uri.query().unwrap_or_default().split('&') {
        if !pair.is_empty() && pair.split('=').next() != Some("cursor") {
            link.push_str(pair);
            link.push('&');
        }
    }
    link.push_str(&format!("cursor={next}>; rel=\"next\""));
    HeaderValue::from_str(&link).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(uri: &'static str) -> Result<Page, ApiError> {
        Page::of(&Uri::from_static(uri))
    }

    #[test]
    fn pieces_follow_each_other_to_the_end() {
        let all = ["a", "b", "c", "d", "e"];
        let mut seen = Vec::new();
        let mut page = page("/x?limit=2").expect("a page");
        loop {
            let (piece, next) = page.take(all.iter(), |item| item);
            seen.extend(piece.into_iter().copied());
            match next {
                Some(next) => page.cursor = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn without_a_limit_a_piece_is_the_largest_there_is() {
        let (piece, next) = page("/x").expect("a page").take(["a", "b"].iter(), |item| item);
        assert_eq!((piece.len(), next), (2, None));
        let many: Vec<String> = (0..=MAX_LIMIT).map(|number| format!("{number:05}")).collect();
        let (piece, next) = page("/x").expect("a page").take(many.iter(), |item| item);
        assert_eq!((piece.len(), next.as_deref()), (MAX_LIMIT, Some("00999")));
    }

    #[test]
    fn a_wrong_limit_is_named() {
        for uri in ["/x?limit=0", "/x?limit=1001", "/x?limit=-1", "/x?limit=", "/x?limit=a"] {
            assert!(page(uri).is_err(), "{uri}");
        }
        assert!(page("/x?limit=7&cursor=a%20b&colour=red").is_ok());
    }

    #[test]
    fn the_link_keeps_the_rest_of_the_query() {
        let uri = Uri::from_static("/agents?category=a%20b&cursor=old&limit=2");
        let link = link(&uri, "new").expect("a header");
        assert_eq!(link, "</agents?category=a%20b&limit=2&cursor=new>; rel=\"next\"");
    }
}
