//! Which names lead to which files, as processes see it and as the device has it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use super::{Shared, lock, split};

type Files = BTreeMap<String, Shared>;

#[derive(Default)]
pub(super) struct Names {
    seen: Files,
    durable: Files,
    /// What was changed since and not flushed, in order. The changes of one entry happen together.
    pending: Vec<Vec<(String, Option<Shared>)>>,
}

impl Names {
    pub(super) fn of(files: impl Iterator<Item = (String, Shared)>) -> Self {
        let seen: Files = files.collect();
        Self { durable: seen.clone(), seen, pending: Vec::new() }
    }

    /// The same names, which lead to copies of the files. A file with two names is copied once.
    pub(super) fn copy(&self) -> Self {
        let mut copies = HashMap::new();
        let mut copy = |file: &Shared| {
            let copied = || Arc::new(Mutex::new(lock(file).clone()));
            copies.entry(Arc::as_ptr(file)).or_insert_with(copied).clone()
        };
        let mut copy_all = |files: &Files| -> Files {
            files.iter().map(|(name, file)| (name.clone(), copy(file))).collect()
        };
        let (seen, durable) = (copy_all(&self.seen), copy_all(&self.durable));
        let mut copy_change =
            |(name, file): &(String, Option<Shared>)| (name.clone(), file.as_ref().map(&mut copy));
        let pending = self.pending.iter();
        let pending = pending.map(|changes| changes.iter().map(&mut copy_change).collect());
        Self { seen, durable, pending: pending.collect() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Shared)> {
        self.seen.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<Shared> {
        self.seen.get(name).cloned()
    }

    pub(super) fn durable(&self, name: &str) -> Option<Shared> {
        self.durable.get(name).cloned()
    }

    /// Changes names of one directory, together.
    pub(super) fn change<const N: usize>(&mut self, changes: [(&str, Option<Shared>); N]) {
        let changes: Vec<_> =
            changes.into_iter().map(|(name, file)| (name.to_owned(), file)).collect();
        apply(&mut self.seen, &changes);
        self.pending.push(changes);
    }

    /// Makes what was changed in a directory durable.
    pub(super) fn flush(&mut self, directory: &str) {
        for changes in std::mem::take(&mut self.pending) {
            if split(&changes[0].0).0 == directory {
                apply(&mut self.durable, &changes);
            } else {
                self.pending.push(changes);
            }
        }
    }

    /// The names that are found when the power comes back.
    pub(super) fn after_power_cut(
        &self,
        mut survive: impl FnMut(&str) -> super::Kept,
    ) -> Vec<(String, Shared)> {
        let mut found = self.durable.clone();
        for changes in &self.pending {
            if survive(&changes[0].0) != super::Kept::Nothing {
                apply(&mut found, changes);
            }
        }
        found.into_iter().collect()
    }
}

fn apply(files: &mut Files, changes: &[(String, Option<Shared>)]) {
    for (name, file) in changes {
        match file {
            Some(file) => files.insert(name.clone(), file.clone()),
            None => files.remove(name),
        };
    }
}
