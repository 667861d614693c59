//! Random ids that nobody guesses, in the characters of Node.js's `base64id`.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// So many characters of `[A-Za-z0-9_-]`, of which each holds six random bits. `None` when the system has no random
/// bytes.
pub fn random<const LENGTH: usize>() -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).ok()?;
    let character = |byte: u8| ALPHABET.get(usize::from(byte & 63)).copied();
    Some(bytes.map(|byte| character(byte).unwrap_or(b'A')))
}

/// The lower bits of a number, six for each character.
pub fn characters<const LENGTH: usize>(number: u32) -> [u8; LENGTH] {
    let mut characters = [b'A'; LENGTH];
    let mut rest = number;
    for place in characters.iter_mut().rev() {
        *place = ALPHABET.get((rest & 63) as usize).copied().unwrap_or(b'A');
        rest >>= 6;
    }
    characters
}

/// The number that at most five characters stand for; `None` when one is none of ours.
pub fn number(characters: &[u8]) -> Option<u32> {
    let digit = |character: &u8| ALPHABET.iter().position(|known| known == character);
    characters.iter().try_fold(0, |number: u32, character| {
        Some(number << 6 | u32::try_from(digit(character)?).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for value in [0, 1, 63, 64, 4_095, (1 << 24) - 1] {
            assert_eq!(number(&characters::<4>(value)), Some(value));
        }
        assert_eq!((number(b"A.AA"), characters::<2>(4_096 + 65)), (None, *b"BB"));
    }

    #[test]
    fn every_character_comes_and_no_id_twice() {
        let ids: std::collections::HashSet<[u8; 20]> = (0..1_000).filter_map(|_| random()).collect();
        assert_eq!(ids.len(), 1_000);
        let seen: std::collections::BTreeSet<u8> = ids.into_iter().flatten().collect();
        let expected: std::collections::BTreeSet<u8> = ALPHABET.iter().copied().collect();
        assert_eq!(seen, expected);
    }
}
