//! Names of functions that are too long to carry about.
//!
//! wasmtime copies the name of each function in a trap, on the guests' threads and outside of fuel,
//! and a stranger's name may have megabytes. What has such names is compiled without any.

use std::borrow::Cow;

use wasmparser::{KnownCustom, Name, NameSectionReader, Parser, Payload};

/// The longest name that is kept, in bytes. What compilers make of deep generics has a tenth.
const LONGEST: usize = 16 * 1024;
/// The section of names, and what it is called where nobody is to find it. Offsets stay as they are:
/// lines are found by them.
const SECTION: &[u8] = b"name";
const HIDDEN: &[u8] = b"eman";

/// The component, without the names of modules in which one is too long.
pub(super) fn without_long(component: &[u8]) -> Cow<'_, [u8]> {
    let mut hidden = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::CustomSection(section)) => {
                if let KnownCustom::Name(names) = section.as_known()
                    && has_long(names)
                {
                    hidden.push(section.data_offset());
                }
            }
            Ok(_) => {}
            // The compiler has its own word about that.
            Err(_) => break,
        }
    }
    if hidden.is_empty() {
        return Cow::Borrowed(component);
    }
    let mut bytes = component.to_vec();
    for end in hidden {
        // The section's own name comes right before its data.
        if let Some(name) = bytes.get_mut(end.saturating_sub(SECTION.len())..end) {
            name.copy_from_slice(HIDDEN);
        }
    }
    Cow::Owned(bytes)
}

/// What comes after a fault is not read by wasmtime either.
fn has_long(names: NameSectionReader<'_>) -> bool {
    names.map_while(Result::ok).any(|part| match part {
        Name::Module { name, .. } => name.len() > LONGEST,
        Name::Function(names) => names.into_iter().map_while(Result::ok).any(|one| one.name.len() > LONGEST),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module that names itself.
    fn module(name: usize) -> Vec<u8> {
        let number = |mut value: usize, bytes: &mut Vec<u8>| {
            while value >= 0x80 {
                bytes.push((value as u8 & 0x7f) | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
        };
        let mut text = Vec::new();
        number(name, &mut text);
        text.extend(std::iter::repeat_n(b'x', name));
        let mut section = b"\x04name\x00".to_vec();
        number(text.len(), &mut section);
        section.extend(text);
        let mut bytes = b"\0asm\x01\0\0\0\0".to_vec();
        number(section.len(), &mut bytes);
        bytes.extend(section);
        bytes
    }

    #[test]
    fn only_what_is_too_long_is_hidden_and_nothing_moves() {
        let short = module(LONGEST);
        assert!(matches!(without_long(&short), Cow::Borrowed(_)));
        let long = module(LONGEST + 1);
        let hidden = without_long(&long);
        assert_eq!(hidden.len(), long.len());
        assert_eq!(hidden.iter().zip(&long).filter(|(now, before)| now != before).count(), 4);
        assert!(matches!(without_long(&hidden), Cow::Borrowed(_)));
        assert!(matches!(without_long(b"\0asm\x0d\0\x01\0garbage"), Cow::Borrowed(_)));
    }
}
