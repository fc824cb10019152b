//! The environment: `PREFIX_SECTION_KEY`, and `PREFIX_SECTION_KEY_FILE` for a value in a file.

use std::ffi::{OsStr, OsString};

use super::{
    Place, Problem, Scope, Setting, Settings, Value, flags::read_value_file, is_table_name,
    nearest, split,
};

pub(super) fn read(settings: &mut Settings, environment: &[(OsString, OsString)]) {
    let scope = settings.scope;
    for &setting in scope.table.iter().filter(|setting| !setting.is_named) {
        read_setting(settings, (setting, ""), environment);
    }
    for (section, table, variable) in tables(scope, environment) {
        settings.found_table(section, &table, &Place::Variable(variable));
    }
    let tables: Vec<_> = settings.tables.keys().cloned().collect();
    for (section, table) in tables {
        for &setting in scope.table.iter().filter(|s| s.is_named && s.section == section) {
            read_setting(settings, (setting, &table), environment);
        }
    }
    for (name, _) in environment {
        if let Some(problem) = name.to_str().and_then(|name| unknown(settings, name)) {
            settings.problem(problem);
        }
    }
}

fn read_setting(
    settings: &mut Settings,
    (setting, table): (&'static Setting, &str),
    environment: &[(OsString, OsString)],
) {
    let name = settings.scope.variable_in(setting, table);
    let file_name = format!("{name}_FILE");
    match (find(environment, &name), find(environment, &file_name)) {
        (None, None) => {}
        (Some(value), None) => read_variable(settings, (setting, table), name, value),
        (None, Some(path)) => read_value_file(settings, (setting, table), path.as_ref(), file_name),
        (Some(_), Some(_)) => settings.problem(Problem::general(format_args!(
            "{name} and {file_name} are both set; unset one of them"
        ))),
    }
}

/// The named tables that variables speak of, each with its section, its name and the variable.
fn tables<'a>(
    scope: &'static Scope,
    environment: &'a [(OsString, OsString)],
) -> impl Iterator<Item = (&'static str, String, String)> + 'a {
    let named = scope.table.iter().filter(|setting| setting.is_named);
    named.flat_map(move |setting| {
        let begin = format!("{}_{}_", scope.variable_prefix, setting.section).to_uppercase();
        let end = format!("_{}", setting.key).to_uppercase();
        environment.iter().filter_map(move |(variable, _)| {
            let variable = variable.to_str()?;
            let rest = variable.strip_prefix(&begin)?;
            let rest = rest.strip_suffix("_FILE").unwrap_or(rest);
            let table = rest.strip_suffix(&end)?;
            let is_upper = !table.contains(|c: char| c.is_ascii_lowercase());
            let table = table.to_ascii_lowercase();
            (is_upper && is_table_name(&table))
                .then(|| (setting.section, table, variable.to_owned()))
        })
    })
}

fn find<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
}

fn read_variable(
    settings: &mut Settings,
    (setting, table): (&'static Setting, &str),
    name: String,
    value: &OsStr,
) {
    let place = Place::Variable(name);
    let Some(text) = value.to_str() else {
        return settings.problem(Problem::at(&place, "the value is not UTF-8"));
    };
    let texts = split(setting.kind, text);
    let values = texts.into_iter().map(|text| Value { text, place: place.clone() });
    settings.replace(setting, table, values.collect());
}

/// What is wrong with a variable that has our prefix and means nothing.
fn unknown(settings: &Settings, name: &str) -> Option<Problem> {
    let scope = settings.scope;
    let rest = name.strip_prefix(scope.variable_prefix)?.strip_prefix('_')?;
    let known = |table: &str, is_named: bool| {
        let settings = scope.table.iter().filter(move |setting| setting.is_named == is_named);
        settings.map(|setting| scope.variable_in(setting, table)).collect::<Vec<_>>()
    };
    let mut known_in_tables: Vec<String> =
        settings.tables.keys().flat_map(|(_, table)| known(table, true)).collect();
    known_in_tables.extend(known("", false));
    let known = known_in_tables;
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
