//! Values to MessagePack, each in its smallest form, as `notepack.io` writes them.

use rmp::encode;

use super::Unfit;

/// Integers beyond this are not exact in JavaScript and travel as floats.
const MAX_INTEGER: f64 = 9_007_199_254_740_992.0;

/// Appends MessagePack to a buffer. Keeps no count: who opens a map of two entries writes two.
#[derive(Debug)]
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    /// Opens an array of `length` values.
    pub(crate) fn array(&mut self, length: usize) -> Result<(), Unfit> {
        done(encode::write_array_len(self.0, narrow(length)?))
    }

    /// Opens a map of `length` keys, each followed by its value.
    pub(crate) fn map(&mut self, length: usize) -> Result<(), Unfit> {
        done(encode::write_map_len(self.0, narrow(length)?))
    }

    /// A string.
    pub(crate) fn str(&mut self, text: &str) -> Result<(), Unfit> {
        self.text(text.as_bytes())
    }

    /// A string, which may hold lone surrogates as UTF-8 would have them.
    pub(super) fn text(&mut self, text: &[u8]) -> Result<(), Unfit> {
        done(encode::write_str_len(self.0, narrow(text.len())?))?;
        self.0.extend_from_slice(text);
        Ok(())
    }

    /// Bytes.
    pub(crate) fn bin(&mut self, bytes: &[u8]) -> Result<(), Unfit> {
        narrow(bytes.len())?;
        done(encode::write_bin(self.0, bytes))
    }

    /// `null`.
    pub(crate) fn nil(&mut self) -> Result<(), Unfit> {
        done(encode::write_nil(self.0))
    }

    /// `true` or `false`.
    pub(crate) fn bool(&mut self, value: bool) -> Result<(), Unfit> {
        done(encode::write_bool(self.0, value))
    }

    /// A whole number; a float where JavaScript's numbers are not exact.
    pub(crate) fn uint(&mut self, value: u64) -> Result<(), Unfit> {
        self.float(value as f64)
    }

    /// The text of a JSON number, with the value that `JSON.parse` gives it.
    pub(super) fn number(&mut self, text: &str) -> Result<(), Unfit> {
        // 15 digits are exact either way.
        if text.len() <= 15
            && let Ok(value) = text.parse::<i64>()
        {
            return done(encode::write_sint(self.0, value));
        }
        self.float(text.parse().map_err(|_| Unfit::NotJson)?)
    }

    fn float(&mut self, value: f64) -> Result<(), Unfit> {
        if value.fract() == 0.0 && value.abs() <= MAX_INTEGER {
            return done(encode::write_sint(self.0, value as i64));
        }
        done(encode::write_f64(self.0, value))
    }
}

fn narrow(length: usize) -> Result<u32, Unfit> {
    u32::try_from(length).map_err(|_| Unfit::TooLong)
}

/// Writing to a `Vec` cannot fail, whatever its type says.
fn done<T, E>(written: Result<T, E>) -> Result<(), Unfit> {
    written.map(|_| ()).map_err(|_| Unfit::TooLong)
}

#[cfg(test)]
mod tests {
    use super::{super::hex, *};

    fn number(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Writer(&mut out).number(text).unwrap();
        out
    }

    #[test]
    fn whole_numbers_take_the_smallest_form() {
        for (text, expected) in [
            ("0", "00"),
            ("-0", "00"),
            ("1.0", "01"),
            ("1e3", "cd03e8"),
            ("127", "7f"),
            ("128", "cc80"),
            ("255", "ccff"),
            ("256", "cd0100"),
            ("65535", "cdffff"),
            ("65536", "ce00010000"),
            ("4294967295", "ceffffffff"),
            ("4294967296", "cf0000000100000000"),
            ("9007199254740992", "cf0020000000000000"),
            ("9007199254740993", "cf0020000000000000"),
            ("-1", "ff"),
            ("-32", "e0"),
            ("-33", "d0df"),
            ("-128", "d080"),
            ("-129", "d1ff7f"),
            ("-32768", "d18000"),
            ("-32769", "d2ffff7fff"),
            ("-2147483648", "d280000000"),
            ("-2147483649", "d3ffffffff7fffffff"),
            ("-9007199254740992", "d3ffe0000000000000"),
        ] {
            assert_eq!(hex(&number(text)), expected, "{text}");
        }
    }

    #[test]
    fn other_numbers_are_floats() {
        for text in ["0.5", "-1.25", "9007199254740994", "1e300", "-1e20", "5e-324"] {
            let expected: f64 = text.parse().unwrap();
            let mut bytes = vec![0xcb];
            bytes.extend(expected.to_be_bytes());
            assert_eq!(number(text), bytes, "{text}");
        }
        assert_eq!(number("1e999"), [0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn lengths_take_the_smallest_form() {
        let header = |length: usize| {
            let mut out = Vec::new();
            Writer(&mut out).str(&"x".repeat(length)).unwrap();
            out.truncate(out.len() - length);
            hex(&out)
        };
        for (length, expected) in [
            (0, "a0"),
            (31, "bf"),
            (32, "d920"),
            (255, "d9ff"),
            (256, "da0100"),
            (65_536, "db00010000"),
        ] {
            assert_eq!(header(length), expected);
        }
        let mut out = Vec::new();
        let mut writer = Writer(&mut out);
        for length in [15, 16, 65_535, 65_536] {
            writer.array(length).unwrap();
            writer.map(length).unwrap();
        }
        writer.bin(&[7]).unwrap();
        assert_eq!(hex(&out), "9f8fdc0010de0010dcffffdeffffdd00010000df00010000c40107");
    }
}
