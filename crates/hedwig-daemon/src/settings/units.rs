use std::{fmt, str::FromStr, time::Duration};

/// A length of time as a person writes it: `500ms`, `2s`, `5m`, `12h`, `5d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes as a person writes it: `1000`, `64K`, `50M`, `2G`, in powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A text that is no number with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a [`Span`].
    #[error("a time is a whole number and one of the units ms, s, m, h, d")]
    Span,
    /// Not a [`Size`].
    #[error("a size is a whole number of bytes, or one with the unit K, M or G")]
    Size,
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_unit(text).ok_or(UnitError::Span)?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(UnitError::Span),
        };
        let total = number.checked_mul(milliseconds).ok_or(UnitError::Span)?;
        Ok(Self(Duration::from_millis(total)))
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_unit(text).ok_or(UnitError::Size)?;
        let bytes = match unit {
            "" => 1,
            "K" | "KiB" => 1 << 10,
            "M" | "MiB" => 1 << 20,
            "G" | "GiB" => 1 << 30,
            _ => return Err(UnitError::Size),
        };
        number.checked_mul(bytes).map(Self).ok_or(UnitError::Size)
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

impl fmt::Display for Span {
    /// The two largest units that are not zero: `3d4h`, `5m`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let parts = [
            (seconds / 86_400, 'd'),
            (seconds / 3_600 % 24, 'h'),
            (seconds / 60 % 60, 'm'),
            (seconds % 60, 's'),
        ];
        let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
        let mut text = String::new();
        for (index, (count, unit)) in parts.iter().enumerate().skip(first).take(2) {
            if *count > 0 || index == first {
                text += &format!("{count}{unit}");
            }
        }
        f.pad(&text)
    }
}

impl fmt::Display for Size {
    /// In the largest unit that keeps it above 1, with one decimal: `4.0K`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "G"), (20, "M"), (10, "K")];
        let text = match units.iter().find(|(shift, _)| self.0 >> shift > 0) {
            #[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
            Some((shift, unit)) => format!("{:.1}{unit}", self.0 as f64 / (1u64 << shift) as f64),
            None => self.0.to_string(),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        for (text, seconds, shown) in
            [("2s", 2, "2s"), ("90s", 90, "1m30s"), ("5d", 432_000, "5d"), ("25h", 90_000, "1d1h")]
        {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.0.as_secs(), span.to_string().as_str()), (seconds, shown));
        }
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        for text in ["", "5", "d", "-5s", "1.5h", "5 weeks", "99999999999999999d"] {
            assert_eq!(text.parse::<Span>(), Err(UnitError::Span), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!("50M".parse(), Ok(Size(50 << 20)));
        assert_eq!("64 KiB".parse(), Ok(Size(64 << 10)));
        assert_eq!("17".parse(), Ok(Size(17)));
        assert_eq!("99999999999G".parse::<Size>(), Err(UnitError::Size));
        assert_eq!("5 MB/s".parse::<Size>(), Err(UnitError::Size));
        assert_eq!([Size(999).to_string(), Size(4096).to_string()], ["999", "4.0K"]);
    }
}
