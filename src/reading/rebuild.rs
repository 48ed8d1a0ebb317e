//! A reading for a sealed batch: rebuilds one of its parts from the object's present content.

use crate::batch::{Advance, Form};
use crate::delta::prefix::Prefix;
use crate::delta::{Places, Progress};
use crate::event::Encoder;
use crate::reading::deliver::Wanted;
use crate::reading::fan_out::{FanOut, Offer, Output};
use crate::reading::pass::Pass;
use crate::reading::plan::{Plan, ReadingError};
use crate::reading::reader::Reader;
use crate::reading::retry::{LackedEvents, QuarantinedPlaces};

/// What a sealed part is rebuilt from.
pub(crate) struct Rebuild {
    /// What the store knows of the object.
    pub before: Progress,
    /// The advance that the part was sealed with.
    pub advance: Advance,
    pub encoder: Encoder,
    /// Accepted records that were in quarantine, and not requeued, when the part was sealed.
    pub skipped: Places,
    /// Records of which the part holds only some events, and those events.
    pub lacked: LackedEvents,
}

/// Emits those of the part's records that the content still has.
pub(crate) fn rebuild(plan: Plan, rebuild: Rebuild) -> Reader<Offer, ()> {
    let room = plan.room.clone();
    Reader::new(&room, |supply, outlet| async move {
        let Rebuild { before, advance, encoder, skipped, lacked } = rebuild;
        let output = match &advance.form {
            Form::Onward { .. } => Output { cursor: advance.before, ..Output::default() },
            Form::Fill { places } => {
                let mut gap = Places::default();
                gap.insert_all(places);
                Output { cursor: before.accepted, gap, lacked, encoder: 0 }
            }
        };
        let mut fan_out = FanOut::new(outlet, &plan, vec![encoder], vec![output]);
        fan_out.accepted = before.accepted;
        fan_out.quarantined = QuarantinedPlaces { closed: skipped, ..QuarantinedPlaces::default() };
        let context = plan.contexts.context(&plan.object, plan.version.last_modified_ms);
        Pass::new(&plan, context, supply, fan_out, before, 0).again(&advance).await
    })
}

impl Pass<'_> {
    /// Emits the records that the advance covers.
    async fn again(&mut self, advance: &Advance) -> Result<(), ReadingError> {
        self.source.prove().await?;
        let mut content = self.source.content().await?;
        let prefix = self.check(&mut content).await?;
        let holds = matches!(prefix, Prefix::Holds(_)) && self.before.in_order && self.before.covers_accepted();
        if holds && advance.form.ranges().is_empty() {
            self.in_order(Wanted { known_from: advance.before, to: advance.after }).await?;
        } else {
            let aside = self.set_aside(|place| advance.holds(place)).await?;
            self.emit_aside(aside).await?;
        }
        Ok(())
    }
}
