//! The configuration file: TOML, `[section]` or `[section.NAME]`, and `key = value`.

use std::{ops::Range, path::Path};

use toml_edit::{Document, Item, TableLike, Value as TomlValue};

use super::{
    Kind, Place, Problem, Setting, Settings, Value, flags::read_value_file, is_table_name, nearest,
};

pub(super) fn read(settings: &mut Settings, path: &Path) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let what = format!("the configuration file {} cannot be read: {error}", path.display());
            return settings.problem(Problem::general(what));
        }
    };
    let file = File { path, text: &text };
    match Document::parse(text.as_str()) {
        Ok(document) => file.read_sections(settings, document.as_table()),
        Err(error) => {
            let place = file.place(error.span());
            settings.problem(Problem::at(&place, format_args!("not TOML: {}", error.message())));
        }
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn place(&self, span: Option<Range<usize>>) -> Place {
        let before = &self.text.as_bytes()[..span.map_or(0, |span| span.start)];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Place::File { path: self.path.to_owned(), line }
    }

    fn read_sections(&self, settings: &mut Settings, root: &dyn TableLike) {
        let table = settings.scope.table;
        for (name, item) in root.iter() {
            let place = self.place(root.key(name).and_then(|key| key.span()));
            let known = table.iter().find(|setting| setting.section == name);
            match item.as_table_like() {
                Some(tables) if known.is_some_and(|setting| setting.is_named) => {
                    self.read_named_tables(settings, known.map_or("", |s| s.section), tables);
                }
                Some(section) if known.is_some() => {
                    self.read_section(settings, (name, ""), section);
                }
                Some(_) => {
                    let near = nearest(name, table.iter().map(|setting| setting.section));
                    let what = format!(
                        "[{name}] is no section of {}{}",
                        settings.scope.program,
                        near.map_or_else(String::new, |near| format!("; did you mean [{near}]?")),
                    );
                    settings.problem(Problem::at(&place, what));
                }
                None => {
                    let home = table.iter().find(|setting| setting.key == name);
                    let home =
                        home.map_or("a [section]".to_owned(), |s| format!("[{}]", s.section));
                    let what = format!("{name} stands in no section; put it under {home}");
                    settings.problem(Problem::at(&place, what));
                }
            }
        }
    }

    fn read_named_tables(
        &self,
        settings: &mut Settings,
        section: &'static str,
        tables: &dyn TableLike,
    ) {
        for (name, item) in tables.iter() {
            let place = self.place(tables.key(name).and_then(|key| key.span()));
            let reason = match item.as_table_like() {
                Some(keys) if is_table_name(name) => {
                    settings.found_table(section, name, &place);
                    self.read_section(settings, (section, name), keys);
                    continue;
                }
                Some(_) => "a name has 1 to 32 small letters and digits",
                None => "each has a table of its own",
            };
            let what = format!("[{section}] {name}: {reason}; write it like [{section}.example]");
            settings.problem(Problem::at(&place, what));
        }
    }

    /// Reads the keys of a section, or of a named table in it.
    fn read_section(
        &self,
        settings: &mut Settings,
        (section, name): (&str, &str),
        keys: &dyn TableLike,
    ) {
        let table = settings.scope.table;
        for (key, item) in keys.iter() {
            let place = self.place(keys.key(key).and_then(|key| key.span()));
            let named =
                |key: &str| table.iter().copied().find(|s| s.section == section && s.key == key);
            if let Some(setting) = named(key) {
                self.read_value(settings, (setting, name), place, item);
            } else if let Some(setting) = key
                .strip_suffix("_file")
                .and_then(named)
                .filter(|setting| setting.kind == Kind::Secret)
            {
                let Some(path) = item.as_str() else {
                    let what = setting.name_in(name) + " is the path of a file, in quotes";
                    settings.problem(Problem::at(&place, what));
                    continue;
                };
                read_value_file(settings, (setting, name), path.as_ref(), place.to_string());
            } else {
                let known = table.iter().filter(|s| s.section == section).map(|s| s.key);
                let near = nearest(key, known);
                let header = if name.is_empty() { "" } else { "." };
                let what = format!(
                    "[{section}{header}{name}] {key} is no setting of {}{}",
                    settings.scope.program,
                    near.map_or_else(String::new, |near| format!("; did you mean {near}?")),
                );
                settings.problem(Problem::at(&place, what));
            }
        }
    }

    fn read_value(
        &self,
        settings: &mut Settings,
        (setting, table): (&'static Setting, &str),
        place: Place,
        item: &Item,
    ) {
        let many = matches!(setting.kind, Kind::List | Kind::Secret);
        let values: Option<Vec<Value>> = match item.as_array() {
            Some(array) if many => array
                .iter()
                .map(|part| Some(Value { text: text_of(part)?, place: self.place(part.span()) }))
                .collect(),
            _ => item
                .as_value()
                .and_then(text_of)
                .map(|text| vec![Value { text, place: place.clone() }]),
        };
        match values {
            Some(values) => settings.replace(setting, table, values),
            None => {
                let sort = if many { "a text, or an array of texts" } else { "a single value" };
                let what =
                    format!("{} is {sort}, not {}", setting.name_in(table), item.type_name());
                settings.problem(Problem::at(&place, what));
            }
        }
    }
}

/// A scalar as the text that a flag or a variable would have.
fn text_of(value: &TomlValue) -> Option<String> {
    match value {
        TomlValue::String(text) => Some(text.value().clone()),
        TomlValue::Integer(number) => Some(number.value().to_string()),
        TomlValue::Float(number) => Some(number.value().to_string()),
        TomlValue::Boolean(switch) => Some(switch.value().to_string()),
        TomlValue::Datetime(_) | TomlValue::Array(_) | TomlValue::InlineTable(_) => None,
    }
}
