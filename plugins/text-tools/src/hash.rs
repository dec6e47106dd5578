//! Digests of a text's UTF-8 bytes, in lower-case hexadecimal.
//!
//! Owns no state; pure. SHA-1 and MD5 are for comparing with old checksums, and the answer says so.

use stockade_sdk::json;

use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use crate::{Answer, Problem};

pub(crate) fn sha256(text: &str) -> Result<Answer, Problem> {
    digest::<Sha256>("SHA-256", text, true)
}

pub(crate) fn sha512(text: &str) -> Result<Answer, Problem> {
    digest::<Sha512>("SHA-512", text, true)
}

pub(crate) fn sha1(text: &str) -> Result<Answer, Problem> {
    digest::<Sha1>("SHA-1", text, false)
}

pub(crate) fn md5(text: &str) -> Result<Answer, Problem> {
    digest::<Md5>("MD5", text, false)
}

fn digest<D: Digest>(algorithm: &str, text: &str, secure: bool) -> Result<Answer, Problem> {
    let result: String = D::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let data = json!({ "algorithm": algorithm, "result": result, "secure": secure });
    Ok(Answer { response: result, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_agree_with_the_standards_examples() {
        let result = |answer: Result<Answer, Problem>| answer.map(|answer| answer.response);
        assert_eq!(result(sha1("abc")), Ok("a9993e364706816aba3e25717850c26c9cd0d89d".to_owned()));
        assert_eq!(result(md5("abc")), Ok("900150983cd24fb0d6963f7d28e17f72".to_owned()));
        assert!(result(sha256("abc")).is_ok_and(|hex| hex.starts_with("ba7816bf8f01cfea")));
        assert!(
            result(sha512("abc")).is_ok_and(|hex| hex.starts_with("ddaf35a193617aba") && hex.len() == 128)
        );
    }
}
