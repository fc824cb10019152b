//! The environment: `PREFIX_SECTION_KEY`, and `PREFIX_SECTION_KEY_FILE` for a value in a file.

use std::ffi::{OsStr, OsString};

use super::{Place, Problem, Setting, Settings, Value, flags::read_value_file, nearest, split};

pub(super) fn read(settings: &mut Settings, environment: &[(OsString, OsString)]) {
    let scope = settings.scope;
    for &setting in scope.table {
        let name = scope.variable(setting);
        let file_name = format!("{name}_FILE");
        match (find(environment, &name), find(environment, &file_name)) {
            (None, None) => {}
            (Some(value), None) => read_variable(settings, setting, name, value),
            (None, Some(path)) => read_value_file(settings, setting, path.as_ref(), file_name),
            (Some(_), Some(_)) => settings.problem(Problem::general(format_args!(
                "{name} and {file_name} are both set; unset one of them"
            ))),
        }
    }
    for (name, _) in environment {
        if let Some(problem) = name.to_str().and_then(|name| unknown(settings, name)) {
            settings.problem(problem);
        }
    }
}

fn find<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
}

fn read_variable(settings: &mut Settings, setting: &'static Setting, name: String, value: &OsStr) {
    let place = Place::Variable(name);
    let Some(text) = value.to_str() else {
        return settings.problem(Problem::at(&place, "the value is not UTF-8"));
    };
    let texts = split(setting.kind, text);
    let values = texts.into_iter().map(|text| Value { text, place: place.clone() });
    settings.replace(setting, values.collect());
}

/// What is wrong with a variable that has our prefix and means nothing.
fn unknown(settings: &Settings, name: &str) -> Option<Problem> {
    let scope = settings.scope;
    let rest = name.strip_prefix(scope.variable_prefix)?.strip_prefix('_')?;
    let known: Vec<String> = scope.table.iter().map(|setting| scope.variable(setting)).collect();
    let stem = name.strip_suffix("_FILE").unwrap_or(name);
    let is_known = |name| known.iter().any(|known| known == name);
    if is_known(name) || is_known(stem) || name == scope.file_variable() || is_service_link(rest) {
        return None;
    }
    let near = nearest(stem, known.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    let what = format!("{name}: this variable is no setting of {}{near}", scope.program);
    Some(Problem::general(what))
}

/// Whether a container platform made this variable, for a service that happens to have the program's
/// name: `..._SERVICE_HOST`, `..._SERVICE_PORT_SMTP`, `..._PORT_25_TCP_ADDR`.
fn is_service_link(rest: &str) -> bool {
    rest == "PORT"
        || rest == "SERVICE_HOST"
        || rest.starts_with("SERVICE_PORT")
        || rest
            .strip_prefix("PORT_")
            .is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()))
}
