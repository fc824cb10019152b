//! What operators see and do.

use hedwig_envelope::{MailId, MailStatus};

use crate::{
    Filter, Grouping, Selection, Spool, SpoolError,
    engine::Engine,
    index::{MailRow, Search},
    state::Act,
};

/// How many mails are looked at in one go, so that commits need not wait long.
const PAGE_MAILS: usize = 512;

impl Spool {
    /// The mails that match, the oldest first. Finished ones are among them only when the filter names
    /// mails or a final state.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<MailStatus>, SpoolError> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut statuses = Vec::new();
        let mut walk = self.walk(filter).await?;
        while let Some(page) = self.page(&mut walk, Engine::matching_statuses).await? {
            statuses.extend(page);
            if statuses.len() >= limit {
                statuses.truncate(limit);
                break;
            }
        }
        Ok(statuses)
    }

    /// Makes the waiting due at once; what is held stays held. Returns how many recipients.
    ///
    /// This and the other actions work on whole units: the recipients of a mail at one destination.
    ///
    /// # Errors
    /// When the action cannot be stored. With many mails, a part may have been.
    pub async fn retry(&self, selection: &Selection) -> Result<u64, SpoolError> {
        self.act(Act::Retry, selection).await
    }

    /// Keeps recipients from being tried until they are released. Returns how many.
    ///
    /// # Errors
    /// As for [`retry`](Self::retry).
    pub async fn hold(&self, selection: &Selection) -> Result<u64, SpoolError> {
        self.act(Act::Hold, selection).await
    }

    /// Makes the held due at once. Returns how many recipients.
    ///
    /// # Errors
    /// As for [`retry`](Self::retry).
    pub async fn release(&self, selection: &Selection) -> Result<u64, SpoolError> {
        self.act(Act::Release, selection).await
    }

    /// Gives recipients up: the courier lets them fail, and tells the sender. Returns how many.
    ///
    /// # Errors
    /// As for [`retry`](Self::retry).
    pub async fn fail(&self, selection: &Selection) -> Result<u64, SpoolError> {
        self.act(Act::Fail, selection).await
    }

    /// Removes recipients from the queue and tells nobody. Returns how many.
    ///
    /// # Errors
    /// As for [`retry`](Self::retry).
    pub async fn drop(&self, selection: &Selection) -> Result<u64, SpoolError> {
        self.act(Act::Drop, selection).await
    }

    async fn act(&self, act: Act, selection: &Selection) -> Result<u64, SpoolError> {
        let everything = Filter::default();
        let filter = match selection {
            Selection::All => &everything,
            Selection::Matching(filter) if filter.is_empty() => return Ok(0),
            Selection::Matching(filter) => filter,
        };
        let mut mails_left = filter.limit.unwrap_or(usize::MAX);
        let mut count = 0;
        let mut walk = self.walk(filter).await?;
        while let Some(mut page) = self.page(&mut walk, Engine::matching_units).await? {
            page.truncate(mails_left);
            mails_left -= page.len();
            let units: Vec<_> = page.into_iter().flatten().collect();
            if !units.is_empty() {
                count += self.act_on(act, units).await?;
            }
            if mails_left == 0 {
                break;
            }
        }
        Ok(count)
    }

    /// The walk through all mails, or, when a domain narrows it, through those that wait for it.
    async fn walk(&self, filter: &Filter) -> Result<Walk, SpoolError> {
        let mut walk = Walk::new(filter);
        let Some(domain) = filter.domain.as_ref().filter(|_| !filter.wants_finished()) else {
            return Ok(walk);
        };
        if self.grouping() == Grouping::Whole {
            return Ok(walk);
        }
        let mut search = Search::new(domain.to_lowercase());
        while !search.is_done() {
            let from = search.clone();
            let step = move |engine: &mut Engine| {
                let mut search = from.clone();
                engine.index.search(&mut search)?;
                Ok(search)
            };
            search = self.ask_index(step).await?;
        }
        walk.filter.ids = search.into_found();
        // No ids would be all of them.
        walk.done = walk.filter.ids.is_empty();
        Ok(walk)
    }

    /// The next page of a walk; nothing at its end.
    async fn page<T: Send + 'static>(
        &self,
        walk: &mut Walk,
        look: fn(&Engine, &Filter, &MailRow) -> Result<Option<T>, SpoolError>,
    ) -> Result<Option<Vec<T>>, SpoolError> {
        if walk.done {
            return Ok(None);
        }
        let from = walk.clone();
        let step = move |engine: &mut Engine| {
            let mut next = from.clone();
            let page = engine.walk(&mut next, look)?;
            Ok((next, page))
        };
        let (after, page) = self.ask_index(step).await?;
        *walk = after;
        Ok(Some(page))
    }
}

/// A walk through the mails that a filter may admit.
#[derive(Clone)]
struct Walk {
    filter: Filter,
    after: Option<MailId>,
    done: bool,
}

impl Walk {
    fn new(filter: &Filter) -> Self {
        let mut filter = filter.clone();
        filter.ids.sort_unstable();
        filter.ids.dedup();
        Self { after: filter.after, filter, done: false }
    }
}

impl Engine {
    pub(crate) fn show(&self, id: MailId) -> Result<Option<MailStatus>, SpoolError> {
        match self.index.mail(id)? {
            Some(row) => self.status(&row).map(Some),
            // An index that is behind may not have read of it yet.
            None => self.check_index().map(|()| None),
        }
    }

    fn status(&self, row: &MailRow) -> Result<MailStatus, SpoolError> {
        Ok(self.index.status(row, |number| self.leases.is_leased((row.id, number)))?)
    }

    fn walk<T>(
        &self,
        walk: &mut Walk,
        look: fn(&Self, &Filter, &MailRow) -> Result<Option<T>, SpoolError>,
    ) -> Result<Vec<T>, SpoolError> {
        let mut found = Vec::new();
        for row in self.rows(walk)? {
            walk.after = Some(row.id);
            if walk.filter.admits_mail(&row, self.now) {
                found.extend(look(self, &walk.filter, &row)?);
            }
        }
        Ok(found)
    }

    fn rows(&self, walk: &mut Walk) -> Result<Vec<MailRow>, SpoolError> {
        let filter = &walk.filter;
        if filter.ids.is_empty() {
            let rows = self.index.page(walk.after, filter.wants_finished(), PAGE_MAILS)?;
            walk.done = rows.len() < PAGE_MAILS;
            return Ok(rows);
        }
        let left = filter.ids.iter().filter(|id| Some(**id) > walk.after);
        let ids: Vec<_> = left.take(PAGE_MAILS).copied().collect();
        walk.done = ids.len() < PAGE_MAILS;
        walk.after = ids.last().copied().or(walk.after);
        let rows = ids.into_iter().filter_map(|id| self.index.mail(id).transpose());
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn matching_statuses(
        &self,
        filter: &Filter,
        row: &MailRow,
    ) -> Result<Option<MailStatus>, SpoolError> {
        match self.matching_units(filter, row)? {
            Some(_) => self.status(row).map(Some),
            None => Ok(None),
        }
    }

    fn matching_units(
        &self,
        filter: &Filter,
        row: &MailRow,
    ) -> Result<Option<Vec<(MailId, u32)>>, SpoolError> {
        let mut units = Vec::new();
        for (number, unit) in self.index.units(row.id)?.iter().enumerate() {
            let key = (row.id, number as u32);
            if filter.admits_unit(unit, self.leases.is_leased(key)) {
                units.push(key);
            }
        }
        Ok((!units.is_empty()).then_some(units))
    }
}
