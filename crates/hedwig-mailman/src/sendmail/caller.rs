//! Who calls: the user whose process this is.

use std::fs;

/// The user who submits a mail, as a mail names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The login name.
    pub(crate) login: String,
    /// The full name, if one is known.
    pub(crate) full_name: Option<String>,
}

impl Caller {
    /// The user of this process: by its id in `/etc/passwd`, or else as the environment says, or else
    /// by the id alone, as in containers that run under an id without a name.
    pub(crate) fn of_process() -> Self {
        let user_id = rustix::process::getuid().as_raw();
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let caller = in_passwd(&passwd, user_id).unwrap_or_else(|| Self {
            login: variable("LOGNAME")
                .or_else(|| variable("USER"))
                .unwrap_or_else(|| format!("user-{user_id}")),
            full_name: None,
        });
        Self { full_name: variable("NAME").or(caller.full_name), ..caller }
    }
}

/// The user of this id in a text of passwd(5).
fn in_passwd(passwd: &str, user_id: u32) -> Option<Caller> {
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = users.find(|fields| {
        fields.len() >= 5 && !fields[0].is_empty() && fields[2].parse() == Ok(user_id)
    })?;
    let login = user[0].to_owned();
    // The first part of the comment field is the name; & stands for the login name in it.
    let name = user[4].split(',').next().unwrap_or_default().trim();
    let mut capital = login.clone();
    if let Some(first) = capital.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let full_name = Some(name.replace('&', &capital)).filter(|name| !name.is_empty());
    Some(Caller { login, full_name })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        alice:x:1000:1000:Alice Doe,Room 1,,:/home/alice:/bin/sh\n\
        bob:x:1001:1001:& Doe:/home/bob:/bin/sh\nbroken:x\nplain:x:1002:1002::/:/bin/sh\n\
        \u{e9}mile:x:1003:1003:& D:/:/bin/sh\n";

    #[test]
    fn a_user_has_a_login_and_perhaps_a_name() {
        let user = |id| in_passwd(PASSWD, id).map(|user| (user.login, user.full_name));
        assert_eq!(user(1000), Some(("alice".into(), Some("Alice Doe".into()))));
        assert_eq!(user(1001), Some(("bob".into(), Some("Bob Doe".into()))));
        assert_eq!(user(1002), Some(("plain".into(), None)));
        assert_eq!(user(1003), Some(("\u{e9}mile".into(), Some("\u{e9}mile D".into()))));
        assert_eq!(user(4711), None);
    }
}
