//! The parameters of MAIL and RCPT (RFC 5321 §4.1.1.11).

use hedwig_envelope::{Address, Hold, IdempotencyKey, MailParameters, Recipient, xtext};

use super::CommandError;

pub(crate) fn of_mail(
    text: &str,
    in_batch: bool,
) -> Result<(MailParameters, Option<IdempotencyKey>), CommandError> {
    let mut parameters = MailParameters::default();
    let mut key = None;
    for parameter in split(text)? {
        if in_batch && parameter.keyword == "XKEY" {
            let value = parameter.xtext()?.parse().map_err(|e| parameter.wrong(e))?;
            parameter.set(&mut key, value)?;
        } else {
            read_mail_parameter(&parameter, &mut parameters)?;
        }
    }
    Ok((parameters, key))
}

fn read_mail_parameter(
    parameter: &Parameter<'_>,
    out: &mut MailParameters,
) -> Result<(), CommandError> {
    match parameter.keyword.as_str() {
        "BODY" => parameter.set(&mut out.body, parameter.parse()?),
        "SMTPUTF8" => parameter.raise(&mut out.smtputf8),
        "SIZE" => parameter.set(&mut out.size, parameter.number()?),
        "RET" => parameter.set(&mut out.ret, parameter.parse()?),
        "ENVID" => parameter.set(&mut out.envid, parameter.envelope_id()?),
        // RFC 4954 §5: what an unauthenticated client says of somebody's identity is not passed on.
        "AUTH" => parameter.xtext().map(drop),
        "REQUIRETLS" => parameter.raise(&mut out.require_tls),
        "MT-PRIORITY" => parameter.set(&mut out.priority, parameter.parse()?),
        "BY" => parameter.set(&mut out.deliver_by, parameter.parse()?),
        "HOLDFOR" => {
            let seconds = u32::try_from(parameter.number()?).map_err(|e| parameter.wrong(e))?;
            parameter.set(&mut out.hold, Hold::For(seconds))
        }
        "HOLDUNTIL" => {
            let time = parameter
                .value()?
                .parse()
                .map_err(|_| parameter.wrong("it should be a time such as 2027-01-01T00:00:00Z"))?;
            parameter.set(&mut out.hold, Hold::Until(time))
        }
        unknown => Err(CommandError::unknown_parameter(unknown)),
    }
}

pub(crate) fn of_recipient(text: &str, address: Address) -> Result<Recipient, CommandError> {
    let mut recipient = Recipient::from(address);
    for parameter in split(text)? {
        match parameter.keyword.as_str() {
            "NOTIFY" => parameter.set(&mut recipient.notify, parameter.parse()?)?,
            "ORCPT" => parameter.set(&mut recipient.original, parameter.parse()?)?,
            unknown => return Err(CommandError::unknown_parameter(unknown)),
        }
    }
    Ok(recipient)
}

/// A keyword in upper case, and what stands after its `=`.
struct Parameter<'a> {
    keyword: String,
    value: Option<&'a str>,
}

fn split(text: &str) -> Result<Vec<Parameter<'_>>, CommandError> {
    if !text.is_empty() && !text.starts_with(' ') {
        return Err(CommandError::arguments("A space is missing after the closing angle bracket"));
    }
    text.split(' ').filter(|word| !word.is_empty()).map(Parameter::of).collect()
}

impl<'a> Parameter<'a> {
    fn of(word: &'a str) -> Result<Self, CommandError> {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let is_keyword = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if keyword.is_empty() || !keyword.bytes().all(is_keyword) {
            return Err(CommandError::arguments(format!("{word:?} is no parameter")));
        }
        Ok(Self { keyword: keyword.to_ascii_uppercase(), value })
    }

    fn wrong(&self, reason: impl std::fmt::Display) -> CommandError {
        CommandError::arguments(format!("The value of {} cannot be read: {reason}", self.keyword))
    }

    fn value(&self) -> Result<&'a str, CommandError> {
        let value = self.value.filter(|value| !value.is_empty());
        value.ok_or_else(|| CommandError::arguments(format!("{} needs a value", self.keyword)))
    }

    fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(&self) -> Result<T, CommandError> {
        self.value()?.parse().map_err(|error: T::Err| CommandError::arguments(error.to_string()))
    }

    fn xtext(&self) -> Result<String, CommandError> {
        xtext::decode(self.value()?).ok_or_else(|| self.wrong("it is no xtext"))
    }

    /// RFC 3461 §4.4: at most 100 characters, as they are written. What should have been written as xtext and was
    /// not counts as it goes on to the next server.
    fn envelope_id(&self) -> Result<String, CommandError> {
        let decoded = self.xtext()?;
        if self.value()?.len() > 100 || xtext::encode(&decoded).len() > 100 {
            return Err(self.wrong("it has more than 100 characters"));
        }
        Ok(decoded)
    }

    /// Digits only: what is too large for 64 bits is as large as they hold.
    fn number(&self) -> Result<u64, CommandError> {
        let digits = self.value()?;
        if digits.len() > 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.wrong("it should be a number of at most 20 digits"));
        }
        Ok(digits.parse().unwrap_or(u64::MAX))
    }

    fn set<T>(&self, slot: &mut Option<T>, value: T) -> Result<(), CommandError> {
        if slot.replace(value).is_some() {
            return Err(self.given_twice());
        }
        Ok(())
    }

    fn raise(&self, flag: &mut bool) -> Result<(), CommandError> {
        if self.value.is_some() {
            return Err(CommandError::arguments(format!("{} takes no value", self.keyword)));
        }
        if std::mem::replace(flag, true) { Err(self.given_twice()) } else { Ok(()) }
    }

    fn given_twice(&self) -> CommandError {
        let text = format!("{} was said twice, or against another parameter", self.keyword);
        CommandError::arguments(text)
    }
}
