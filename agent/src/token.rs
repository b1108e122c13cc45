//! The join token: what a node needs to be let into a cluster, and nothing it may show.
//!
//! Text: `weft1-` and, in lower-case base32 (RFC 4648, section 6, without padding), the version
//! (1 byte, 1), the cluster id (16), the cluster key (32), and the first four bytes of the XXH3
//! digest of those, which finds a token that was cut or mistyped.

mod source;

use std::fmt;
use std::str::FromStr;

use weft_api::ClusterId;
use xxhash_rust::xxh3::xxh3_64;

pub use source::{TokenSource, read_token, write_token};

const PREFIX: &str = "weft";
const VERSION: u8 = 1;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const CHECKED_BYTES: usize = 1 + 16 + 32;
const BYTES: usize = CHECKED_BYTES + 4;
/// Base32 digits of [`BYTES`]: five bits each, rounded up.
const DIGITS: usize = (BYTES * 8).div_ceil(5);

/// What a node needs to be let into a cluster. It prints as `Token(..)`; its text comes from
/// [`Token::to_text`] only.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The cluster it is for.
    pub cluster: ClusterId,
    /// The cluster's key.
    pub key: [u8; 32],
}

/// Says why a text is not a token. The text itself is never part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is nothing.
    #[error("the join token is empty")]
    Empty,
    /// It does not begin as a token does.
    #[error("this is not a join token: it does not begin with `weft1-`")]
    NotAToken,
    /// It is of a later version of Weft.
    #[error("the join token is of version `{0}`, and this Weft reads version 1")]
    Version(String),
    /// It was cut or something was added.
    #[error("the join token has {0} digits after `weft1-` where it should have {DIGITS}")]
    Length(usize),
    /// A character that no token has.
    #[error("digit {0} of the join token is not one of `a` to `z` and `2` to `7`")]
    Digit(usize),
    /// It was mistyped.
    #[error("the join token is damaged: its checksum does not match")]
    Checksum,
}

impl TokenError {
    /// Says what to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Version(_) => "bring this node to the version its cluster runs",
            Self::Empty | Self::NotAToken | Self::Length(_) | Self::Digit(_) | Self::Checksum => {
                "take it anew: `weft token -o FILE` on a member of the cluster"
            }
        }
    }
}

impl Token {
    /// Returns the text. It is a secret: whoever has it can join.
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(self.cluster.as_bytes());
        bytes.extend_from_slice(&self.key);
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        format!("{PREFIX}{VERSION}-{}", encode(&bytes))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl FromStr for Token {
    type Err = TokenError;

    /// Reads a token; white space around it does not count.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        let (version, digits) = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'))
            .ok_or(TokenError::NotAToken)?;
        let is_number = |text: &str| {
            (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !is_number(version) {
            return Err(TokenError::NotAToken);
        }
        if version != "1" {
            return Err(TokenError::Version(version.to_owned()));
        }
        let count = digits.chars().count();
        if count != DIGITS {
            return Err(TokenError::Length(count));
        }
        let bytes = decode(digits)?;
        let (checked, rest) = bytes.split_at(CHECKED_BYTES);
        if rest != checksum(checked) {
            return Err(TokenError::Checksum);
        }
        let (version, rest) = checked.split_at(1);
        if version != [VERSION] {
            return Err(TokenError::Version(version[0].to_string()));
        }
        let (cluster, key) = rest.split_at(16);
        match (cluster.try_into(), key.try_into()) {
            (Ok(cluster), Ok(key)) => Ok(Self { cluster: ClusterId::from_bytes(cluster), key }),
            (Err(_), _) | (_, Err(_)) => Err(TokenError::Length(count)),
        }
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = xxh3_64(bytes).to_be_bytes();
    [a, b, c, d]
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(DIGITS);
    let (mut pool, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        pool = pool << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(digit(pool >> bits));
        }
        pool &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(digit(pool << (5 - bits)));
    }
    text
}

fn digit(value: u32) -> char {
    char::from(ALPHABET[(value & 31) as usize])
}

/// Reads [`DIGITS`] digits of either case into [`BYTES`] bytes.
fn decode(digits: &str) -> Result<Vec<u8>, TokenError> {
    let mut bytes = Vec::with_capacity(BYTES);
    let (mut pool, mut bits) = (0_u32, 0_u32);
    for (index, character) in digits.chars().enumerate() {
        let value = match character.to_ascii_lowercase() {
            letter @ 'a'..='z' => u32::from(letter) - u32::from('a'),
            number @ '2'..='7' => u32::from(number) - u32::from('2') + 26,
            _ => return Err(TokenError::Digit(index + 1)),
        };
        pool = pool << 5 | value;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((pool >> bits).to_le_bytes()[0]);
            pool &= (1 << bits) - 1;
        }
    }
    // The bits that remain are padding; a token has only one text.
    if pool != 0 {
        return Err(TokenError::Checksum);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> Token {
        Token { cluster: ClusterId::from_bytes([7; 16]), key: [9; 32] }
    }

    #[test]
    fn the_text_of_a_token_never_changes() {
        assert_eq!(
            token().to_text(),
            "weft1-aedqobyha4dqobyha4dqobyha4dqscijbeeqscijbeeqscijbeeqscijbeeqscijbeeqscijbeeqscjnd6izu"
        );
    }

    #[test]
    fn a_token_does_not_print() {
        assert_eq!(format!("{:?}", token()), "Token(..)");
    }

    #[test]
    fn white_space_around_and_upper_case_do_not_matter() {
        let text = token().to_text();
        let (head, digits) = text.split_at(6);
        let loud = format!("  {head}{}\n", digits.to_uppercase());
        assert_eq!(loud.parse(), Ok(token()));
    }

    #[test]
    fn each_kind_of_damage_has_its_own_sentence() {
        let text = token().to_text();
        let mut swapped = text.clone().into_bytes();
        swapped.swap(10, 20);
        let swapped = String::from_utf8(swapped).unwrap();
        let rows = [
            ("", TokenError::Empty),
            (" \n", TokenError::Empty),
            ("hello", TokenError::NotAToken),
            ("SWMTKN-1-abc", TokenError::NotAToken),
            ("weft-abc", TokenError::NotAToken),
            ("weft2-abc", TokenError::Version("2".to_owned())),
            (&text[..40], TokenError::Length(34)),
            (&format!("{text}a"), TokenError::Length(DIGITS + 1)),
            (&text.replacen("weft1-a", "weft1-1", 1), TokenError::Digit(1)),
            (&text.replacen("weft1-a", "weft1-é", 1), TokenError::Digit(1)),
            (&swapped, TokenError::Checksum),
        ];
        for (text, error) in rows {
            assert_eq!(text.parse::<Token>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_token_survives_its_text(cluster: [u8; 16], key: [u8; 32]) {
            let token = Token { cluster: ClusterId::from_bytes(cluster), key };
            prop_assert_eq!(token.to_text().parse::<Token>(), Ok(token));
        }

        #[test]
        fn no_text_panics_the_parser(text in ".{0,120}", digits in "[a-z2-7]{85}") {
            let _ = text.parse::<Token>();
            let _ = format!("weft1-{digits}").parse::<Token>();
        }
    }
}
