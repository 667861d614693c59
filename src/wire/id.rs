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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_comes_and_no_id_twice() {
        let ids: std::collections::HashSet<[u8; 20]> = (0..1_000).filter_map(|_| random()).collect();
        assert_eq!(ids.len(), 1_000);
        let seen: std::collections::BTreeSet<u8> = ids.into_iter().flatten().collect();
        let expected: std::collections::BTreeSet<u8> = ALPHABET.iter().copied().collect();
        assert_eq!(seen, expected);
    }
}
