//! One report for all of a mail's recipients that ended together, whatever their domains.
//!
//! A mail whose recipients are at one destination is reported on in the commit that settles it. With several
//! destinations, each settlement only says what the sender is owed. That is gathered for a while, or until no
//! recipient waits any more; then the reports and the word that the sender was told are one commit. So what
//! failed is owed a report or has it, whenever the power goes, and nobody is told twice.

use std::{collections::HashMap, sync::Arc, time::Duration};

use hedwig_envelope::{
    Content, Envelope, Mail, MailId, Notify, Origin, Recipient, ReversePath, Timestamp,
};

use crate::{
    Owed, Spool, SpoolError,
    engine::{Engine, Request, Tell},
    index::MailRow,
    load::read_mail,
    record::{Encoded, Kind},
    schedule::later,
    state::{Told, ToldRecipient, Unit},
};

/// Who has not told a sender within this time will not do so any more, or is refused when he does.
const TELLING_MAX: Duration = Duration::from_mins(1);
/// So many senders are told at once, and with mails of about so many bytes: these are in memory meanwhile.
const TELLINGS_MAX: usize = 16;
const TELLING_BYTES_MAX: u64 = 32 << 20;

/// A mail whose sender is yet to be told of some recipients.
#[derive(Clone, Debug)]
pub struct Untold {
    /// The mail. If it cannot be read any more: its envelope, as far as it is known, and an empty content.
    pub mail: Mail,
    /// What is to be told of whom: each by its place in the mail's envelope.
    pub owed: Vec<(usize, Owed)>,
    recipients: Vec<ToldRecipient>,
}

/// Which senders are being told just now.
#[derive(Default)]
pub(crate) struct Tellings(HashMap<MailId, Telling>);

struct Telling {
    /// Until then nobody else tells this sender.
    until: Timestamp,
    bytes: u64,
}

impl Tellings {
    pub(crate) fn end(&mut self, mail: MailId) {
        self.0.remove(&mail);
    }

    /// Whether no more are told until one of these was.
    fn are_enough(&self) -> bool {
        let bytes: u64 = self.0.values().map(|telling| telling.bytes).sum();
        self.0.len() >= TELLINGS_MAX || bytes >= TELLING_BYTES_MAX
    }
}

/// What is to be told, without the mail.
struct Debt {
    row: MailRow,
    units: Vec<Unit>,
    cached: Option<Arc<Mail>>,
}

impl Engine {
    /// When a sender is to be told next.
    pub(crate) fn next_telling(
        &self,
        gathering: Duration,
    ) -> Result<Option<Timestamp>, SpoolError> {
        let under_way = &self.tellings.0;
        let mut first = None;
        if !self.tellings.are_enough() {
            let untold = self.index.untold(Timestamp::MAX, under_way.len() + 1)?;
            first = untold.into_iter().find(|(mail, _)| !under_way.contains_key(mail));
        }
        let first = first.map(|(_, since)| later(since, gathering));
        Ok(first.into_iter().chain(under_way.values().map(|telling| telling.until)).min())
    }

    fn claim_untold(
        &mut self,
        now: Timestamp,
        gathering: Duration,
        mails_max: usize,
    ) -> Result<Vec<Debt>, SpoolError> {
        self.check_index()?;
        self.tellings.0.retain(|_, telling| telling.until > now);
        let since = now.checked_sub(gathering).unwrap_or(Timestamp::MIN);
        let most = self.tellings.0.len() + mails_max.min(TELLINGS_MAX);
        let untold = self.index.untold(since, most)?;
        let mut debts = Vec::new();
        for (mail, _) in untold {
            if self.tellings.0.contains_key(&mail) {
                continue;
            }
            if debts.len() == mails_max || self.tellings.are_enough() {
                break;
            }
            let row = self.index.mail(mail)?;
            // It runs out by itself, whatever comes of it.
            let (until, bytes) = (later(now, TELLING_MAX), row.as_ref().map_or(0, |row| row.size));
            self.tellings.0.insert(mail, Telling { until, bytes });
            let Some(row) = row else { continue };
            let units = self.index.units(mail)?;
            debts.push(Debt { row, units, cached: self.cache.get(mail).cloned() });
        }
        Ok(debts)
    }

    /// Whether all of this is still to be told.
    pub(crate) fn owes(&self, told: &Told) -> Result<bool, SpoolError> {
        let mut unit = None::<(u32, Unit)>;
        for recipient in &told.recipients {
            if unit.as_ref().is_none_or(|(number, _)| *number != recipient.unit) {
                let found = self.index.unit(told.mail, recipient.unit)?;
                unit = found.map(|found| (recipient.unit, found));
            }
            let mut recipients = unit.iter().flat_map(|(_, unit)| &unit.recipients);
            let is_owed =
                recipients.any(|it| it.position == recipient.position && it.owes(recipient.event));
            if !is_owed {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Spool {
    /// Mails whose senders are to be told at `now`: nothing of them waits any more, or what there is to tell
    /// has been gathered for so long. Nobody else gets them for a minute. There are 16 at once at the most, fewer where
    /// they are large.
    ///
    /// # Errors
    /// When the index cannot be read. A mail that cannot be read comes without its content.
    pub async fn claim_untold(
        &self,
        now: Timestamp,
        gathering: Duration,
        mails_max: usize,
    ) -> Result<Vec<Untold>, SpoolError> {
        let claim = move |engine: &mut Engine| engine.claim_untold(now, gathering, mails_max);
        let debts = self.ask_index(claim).await?;
        let shared = self.shared.clone();
        let blocks = debts.iter().any(|d| d.cached.is_none()) && !shared.driver.is_inline();
        let read = move || {
            let read = |debt: Debt| {
                let mail = match &debt.cached {
                    Some(mail) => Ok(Mail::clone(mail)),
                    None => read_mail(&shared.readers, &*shared.disk, debt.row.position),
                };
                (debt, mail)
            };
            debts.into_iter().map(read).collect::<Vec<_>>()
        };
        let read = match blocks {
            false => read(),
            true => tokio::task::spawn_blocking(read).await.map_err(|_| SpoolError::Closed)?,
        };
        let mut untold = Vec::with_capacity(read.len());
        for (debt, mail) in read {
            match mail {
                Ok(mail) => untold.push(Untold::new(mail, &debt.units)),
                Err(error) => untold.extend(self.untold_unread(debt, &error).await?),
            }
        }
        Ok(untold)
    }

    /// Stores the reports that tell a mail's sender, and that it was told, in one commit.
    ///
    /// # Errors
    /// [`SpoolError::LeaseLost`] when some of it has been told meanwhile: nothing was stored. After any other
    /// error it is still to be told.
    pub async fn tell(&self, untold: &Untold, reports: Vec<Mail>) -> Result<(), SpoolError> {
        let mut follow_ups = Vec::with_capacity(reports.len());
        for report in reports {
            follow_ups.push(self.prepare(report).await?);
        }
        let (mail, at) = (untold.mail.id, self.clock().now());
        let told = Told { mail, at, recipients: untold.recipients.clone() };
        let encoded = Encoded::new(Kind::Told, &told, Default::default());
        self.request(|reply| Request::Tell(Box::new(Tell { told, encoded, follow_ups, reply })))
            .await
    }

    /// To how many mails' senders there is something to tell yet.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn untold(&self) -> Result<u64, SpoolError> {
        self.ask_index(|engine| Ok(engine.index.untold_count()?)).await
    }

    /// A mail could not be read: it was moved, or cannot be read just now, and its turn comes again; or it never
    /// can, and its sender is told without it.
    async fn untold_unread(
        &self,
        debt: Debt,
        error: &SpoolError,
    ) -> Result<Option<Untold>, SpoolError> {
        let id = debt.row.id;
        let row = self.ask_index(move |engine| Ok(engine.index.mail(id)?)).await?;
        if row.is_none_or(|row| row.position != debt.row.position) {
            self.ask(move |engine| engine.tellings.end(id)).await?;
            return Ok(None);
        }
        if let SpoolError::Io { source, .. } = error
            && source.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(%id, %error, "a mail cannot be read just now, and its sender is told later");
            return Ok(None);
        }
        tracing::error!(%id, %error, "a mail cannot be read, and its sender is told without it");
        if let Err(error) = self.ask(move |engine| engine.quarantine_mail(id)).await? {
            tracing::error!(%id, %error, "a mail that cannot be read could not be set aside");
        }
        Ok(Some(Untold::new(without_content(&debt), &debt.units)))
    }
}

impl Untold {
    fn new(mail: Mail, units: &[Unit]) -> Self {
        let (mut owed, mut recipients) = (Vec::new(), Vec::new());
        for (number, unit) in units.iter().enumerate() {
            for recipient in &unit.recipients {
                let Some(found) = &recipient.owed else { continue };
                owed.push((recipient.position as usize, found.clone()));
                recipients.push(ToldRecipient {
                    unit: number as u32,
                    position: recipient.position,
                    event: found.event,
                });
            }
        }
        owed.sort_by_key(|(position, _)| *position);
        Self { mail, owed, recipients }
    }
}

/// What the index knows of a mail. Whom its sender is to be told of was decided before.
fn without_content(debt: &Debt) -> Mail {
    let mut recipients: Vec<_> = debt.units.iter().flat_map(|unit| &unit.recipients).collect();
    recipients.sort_by_key(|recipient| recipient.position);
    let notify = Notify { success: true, failure: true, delay: true };
    let recipients = recipients.into_iter().map(|recipient| Recipient {
        notify: Some(notify),
        ..Recipient::from(recipient.address.clone())
    });
    let MailRow { id, sender, created_at, .. } = &debt.row;
    Mail {
        id: *id,
        envelope: Envelope::new(ReversePath::clone(sender), recipients),
        content: Content::default(),
        origin: Origin::local(*created_at),
    }
}
