use std::io::{self, BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

const PASSWORD_BYTES_MAX: u64 = 1024;

/// A new password: typed twice without being shown, or the first line of standard input when that is
/// no terminal.
pub(super) fn ask(user: &str) -> io::Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return check(read_line(&mut stdin.lock())?);
    }
    let first = prompt(&format!("Password for {user}: "))?;
    let second = prompt("The same again: ")?;
    if first == second { check(first) } else { Err(wrong("these were two different passwords")) }
}

fn check(password: String) -> io::Result<String> {
    if password.is_empty() {
        return Err(wrong("the password is empty"));
    }
    if password.contains(char::is_control) {
        return Err(wrong("the password has a control character in it"));
    }
    Ok(password)
}

fn prompt(text: &str) -> io::Result<String> {
    let mut stderr = io::stderr();
    write!(stderr, "{text}")?;
    stderr.flush()?;
    let line = {
        let _hidden = Hidden::begin()?;
        read_line(&mut io::stdin().lock())
    };
    writeln!(stderr)?;
    line
}

/// While it lives, the terminal does not show what is typed.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs no mending.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.take(PASSWORD_BYTES_MAX + 2).read_line(&mut line)?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(wrong("the password is longer than 1024 bytes"));
    }
    Ok(line.to_owned())
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_without_its_end() {
        for text in ["tan staaf\n", "tan staaf\r\n", "tan staaf", "tan staaf\nmore\n"] {
            assert_eq!(read_line(&mut text.as_bytes()).unwrap(), "tan staaf");
        }
        assert!(read_line(&mut "x".repeat(2000).as_bytes()).is_err());
        for text in ["", "a\tb"] {
            assert!(check(text.into()).is_err(), "{text:?}");
        }
    }
}
