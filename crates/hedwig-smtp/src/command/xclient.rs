//! XCLIENT, a command of Postfix's that others speak too: a front end says for whom it speaks. Its
//! `XCLIENT_README` describes it.

use std::{fmt, net::IpAddr};

use hedwig_envelope::xtext;

use super::CommandError;

/// What is offered with the keyword XCLIENT.
pub(crate) const ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";
/// The longest name in an attribute, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// What a front end says of its client. `NAME`, `PROTO`, `DESTADDR` and `DESTPORT` may be said, and nothing
/// depends on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xclient {
    /// `ADDR`: the client's address.
    pub address: Option<IpAddr>,
    /// `PORT`: its port.
    pub port: Told<u16>,
    /// `HELO`: what it called itself.
    pub hello: Told<String>,
    /// `LOGIN`: as whom it was authenticated.
    pub login: Told<String>,
}

/// Whether something was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Told<T> {
    /// Nothing was said of it.
    #[default]
    Nothing,
    /// That nobody knows: `[UNAVAILABLE]` or `[TEMPUNAVAIL]`.
    Unknown,
    /// This.
    Value(T),
}

impl<T> Told<T> {
    /// What was told.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing | Self::Unknown => None,
        }
    }

    fn or(self, earlier: Self) -> Self {
        if matches!(self, Self::Nothing) { earlier } else { self }
    }
}

impl Xclient {
    /// What stands behind the verb.
    pub(super) fn parse(arguments: &str) -> Result<Self, CommandError> {
        let mut told = Self::default();
        let mut words = arguments.split(' ').filter(|word| !word.is_empty()).peekable();
        if words.peek().is_none() {
            return Err(CommandError::arguments(format!("XCLIENT takes {ATTRIBUTES}")));
        }
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let wrong = || CommandError::arguments(format!("This is no value of {name}"));
            let value = xtext::decode(value).filter(|value| !value.is_empty());
            told.take(&name.to_ascii_uppercase(), &value.ok_or_else(wrong)?).ok_or_else(wrong)?;
        }
        Ok(told)
    }

    /// `None` when there is no such attribute, or no such value of it.
    fn take(&mut self, name: &str, value: &str) -> Option<()> {
        let is_unknown = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"]
            .iter()
            .any(|unknown| unknown.eq_ignore_ascii_case(value));
        match name {
            // Without an address nobody could tell whether the client may relay.
            "ADDR" if is_unknown => return None,
            "ADDR" => self.address = Some(address(value)?),
            "PORT" if is_unknown => self.port = Told::Unknown,
            "PORT" => self.port = Told::Value(port(value)?),
            "HELO" if is_unknown => self.hello = Told::Unknown,
            "HELO" => self.hello = Told::Value(word(value)?),
            "LOGIN" if is_unknown => self.login = Told::Unknown,
            "LOGIN" => self.login = Told::Value(word(value)?),
            "NAME" | "PROTO" | "DESTADDR" | "DESTPORT" if is_unknown => {}
            "NAME" | "PROTO" => drop(word(value)?),
            "DESTADDR" => drop(address(value)?),
            "DESTPORT" => drop(port(value)?),
            _ => return None,
        }
        Some(())
    }

    /// All that was told; of what was told twice, what this says.
    pub(crate) fn after(self, earlier: Self) -> Self {
        Self {
            address: self.address.or(earlier.address),
            port: self.port.or(earlier.port),
            hello: self.hello.or(earlier.hello),
            login: self.login.or(earlier.login),
        }
    }
}

/// An IPv6 address has `IPV6:` before it.
fn address(text: &str) -> Option<IpAddr> {
    match text.split_at_checked(5) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("IPV6:") => {
            rest.parse().ok().filter(IpAddr::is_ipv6)
        }
        _ => text.parse().ok(),
    }
}

fn port(digits: &str) -> Option<u16> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn word(text: &str) -> Option<String> {
    let is_word = text.len() <= NAME_BYTES_MAX && !text.contains(char::is_whitespace);
    is_word.then(|| text.to_owned())
}

impl fmt::Display for Xclient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("XCLIENT")?;
        match self.address {
            Some(address @ IpAddr::V6(_)) => write!(f, " ADDR=IPV6:{address}")?,
            Some(address) => write!(f, " ADDR={address}")?,
            None => {}
        }
        write_told(f, "PORT", &self.port)?;
        write_told(f, "HELO", &self.hello)?;
        write_told(f, "LOGIN", &self.login)
    }
}

fn write_told(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    told: &Told<impl fmt::Display>,
) -> fmt::Result {
    match told {
        Told::Nothing => Ok(()),
        Told::Unknown => write!(f, " {name}=[UNAVAILABLE]"),
        Told::Value(value) => write!(f, " {name}={}", xtext::encode(&value.to_string())),
    }
}
