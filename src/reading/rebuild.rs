//! For a sealed batch: a part of it, made again from what its object holds now.

use crate::delta::Progress;
use crate::delta::prefix::Prefix;
use crate::event::Encoder;
use crate::reading::deliver::Wanted;
use crate::reading::fan_out::{FanOut, Offer, Output};
use crate::reading::pass::Pass;
use crate::reading::plan::{Plan, ReadingError};
use crate::reading::reader::Reader;

/// A reading for a part that was sealed.
pub struct Rebuild {
    /// What is known of the object.
    pub before: Progress,
    /// The accepted records that the part holds.
    pub from: u64,
    pub to: u64,
    pub encoder: Encoder,
    /// As in [`Deliver`].
    pub quarantined: Box<dyn FnMut(u64) -> bool + Send>,
}

/// Gives out the accepted records between two places, as far as the content still holds them.
pub fn rebuild(plan: Plan, rebuild: Rebuild) -> Reader<Offer, ()> {
    Reader::new(|supply, outlet| async move {
        let Rebuild { before, from, to, encoder, quarantined } = rebuild;
        let output = Output { cursor: from, encoder: 0 };
        let mut fan_out = FanOut::new(outlet, &plan, vec![encoder], &[output]);
        fan_out.accepted = before.accepted;
        fan_out.quarantined = quarantined;
        let context = plan.contexts.context(&plan.object, plan.version.last_modified_ms);
        Pass::new(&plan, context, supply, fan_out, before, 0).again(from, to).await
    })
}

impl Pass<'_> {
    /// Gives out the known records between two places, for a part that is made again.
    async fn again(&mut self, from: u64, to: u64) -> Result<(), ReadingError> {
        self.source.prove().await?;
        let mut content = self.source.content().await?;
        let prefix = self.check(&mut content).await?;
        if matches!(prefix, Prefix::Holds(_)) && self.before.in_order && self.before.covers_accepted() {
            self.in_order(Wanted { known_from: from, to }).await?;
        } else {
            let aside = self.set_aside(from, to).await?;
            self.emit_aside(aside).await?;
        }
        Ok(())
    }
}
