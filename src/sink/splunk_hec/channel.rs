//! The channels that a lane sends its requests over. Splunk numbers the requests of a channel from 0, and starts at 0
//! again after a restart. From then on a number no longer identifies the request that it was given for.

use std::collections::{BTreeMap, VecDeque};

use crate::event::EventId;
use crate::sink::{Acknowledgement, State};

/// The most numbers that are remembered of a channel; the most channels that are remembered as lost, and as unanswered.
const NUMBERS_MAX: usize = 1024;
const LOST_MAX: usize = 64;

/// A channel's name: a GUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ChannelId([u8; 16]);

impl ChannelId {
    /// A new name for each request that begins a channel, and for each time.
    pub(super) fn new(request: &str, now_ms: i64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(request.as_bytes()).update(&now_ms.to_be_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        // The version bits of a UUID of version 8 (RFC 9562).
        id[6] = 0x80 | id[6] & 0x0f;
        id[8] = 0x80 | id[8] & 0x3f;
        Self(id)
    }

    pub(super) fn guid(self) -> String {
        EventId(self.0).to_string()
    }
}

/// What identifies a request in a question to Splunk: the channel, and the number that Splunk gave.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ticket {
    pub(super) channel: ChannelId,
    pub(super) number: u64,
}

impl Ticket {
    pub(super) fn to_state(self) -> State {
        State([&self.channel.0[..], &self.number.to_be_bytes()].concat().into())
    }

    /// Decodes what [`Ticket::to_state`] wrote. `None` for other bytes.
    pub(super) fn from_state(State(bytes): &State) -> Option<Self> {
        let (channel, number) = bytes.split_first_chunk()?;
        Some(Self { channel: ChannelId(*channel), number: u64::from_be_bytes(number.try_into().ok()?) })
    }
}

/// The permission to send one request over a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pass {
    pub(super) channel: ChannelId,
    /// This process's own number for the request, which is under way until [`Channels::answered`] or
    /// [`Channels::unanswered`] is called.
    serial: u64,
    /// The highest number that Splunk had given on the channel before. The request's number must be higher.
    above: Option<u64>,
    /// Whether Splunk is known to answer questions about the channel.
    pub(super) is_answered: bool,
}

#[derive(Debug, Default)]
pub(super) struct Channels {
    current: Option<Channel>,
    /// Channels whose numbers no longer identify requests, the oldest first.
    lost: VecDeque<ChannelId>,
    /// Channels with requests that got no answer, and how many, the oldest first.
    unanswered: VecDeque<(ChannelId, u64)>,
    /// The requests that are under way, by serial.
    under_way: BTreeMap<u64, ChannelId>,
    next_serial: u64,
}

#[derive(Debug)]
struct Channel {
    id: ChannelId,
    /// The last numbers that Splunk gave, and the requests that it gave them for.
    numbers: BTreeMap<u64, Box<str>>,
    is_answered: bool,
}

impl Channels {
    /// Begins a request over the current channel, or over a new one named `new`. A request that has a number in the
    /// current channel already was not acknowledged: Splunk may have been restarted, so a new channel begins.
    pub(super) fn pass(&mut self, request: &str, new: ChannelId) -> Pass {
        self.current.take_if(|current| current.numbers.values().any(|before| &**before == request));
        let begin = || Channel { id: new, numbers: BTreeMap::new(), is_answered: false };
        let current = self.current.get_or_insert_with(begin);
        let above = current.numbers.last_key_value().map(|(number, _)| *number);
        let pass = Pass { channel: current.id, serial: self.next_serial, above, is_answered: current.is_answered };
        self.under_way.insert(pass.serial, pass.channel);
        self.next_serial += 1;
        pass
    }

    /// Ends a request that was not sent, or that Splunk answered.
    pub(super) fn answered(&mut self, pass: &Pass) {
        self.under_way.remove(&pass.serial);
    }

    /// Ends a request to which Splunk may have given an unknown number.
    pub(super) fn unanswered(&mut self, pass: &Pass) {
        self.under_way.remove(&pass.serial);
        if self.current.as_ref().is_some_and(|current| current.id == pass.channel && current.numbers.is_empty()) {
            return;
        }
        self.leave(pass.channel);
        match self.unanswered.iter_mut().find(|(channel, _)| *channel == pass.channel) {
            Some((_, count)) => *count += 1,
            None => self.unanswered.push_back((pass.channel, 1)),
        }
        if self.unanswered.len() > LOST_MAX {
            self.unanswered.pop_front();
        }
    }

    /// The serial of the next request: every request that has begun has a lower one.
    pub(super) fn now(&self) -> u64 {
        self.next_serial
    }

    /// Whether all requests of the channel with a serial below `before` have ended. Only then can Splunk's statements
    /// about the channel's numbers be interpreted.
    pub(super) fn is_settled(&self, channel: ChannelId, before: u64) -> bool {
        self.under_way.range(..before).all(|(_, other)| *other != channel)
    }

    /// What it means that a number of the channel is indexed, or not. Valid once the channel is settled. A Splunk
    /// collector that was restarted unnoticed may have given the channel's first numbers again, to requests that got no
    /// answer; for such a number nobody can say which request is indexed, so the request counts as lost.
    pub(super) fn means(&self, Ticket { channel, number }: Ticket, is_indexed: bool) -> Acknowledgement {
        let unanswered = self.unanswered.iter().find(|(other, _)| *other == channel).map_or(0, |(_, count)| *count);
        match is_indexed {
            _ if self.is_lost(channel) => Acknowledgement::Lost,
            true if number < unanswered => Acknowledgement::Lost,
            true => Acknowledgement::Taken,
            false => Acknowledgement::NotYet,
        }
    }

    /// Notes that Splunk answers questions about the channel.
    pub(super) fn answers(&mut self, channel: ChannelId) {
        if let Some(current) = self.current.as_mut().filter(|current| current.id == channel) {
            current.is_answered = true;
        }
    }

    /// Notes that Splunk gave this number to a request. `None` if Splunk has started to count again: its numbers no
    /// longer identify requests, and the request is to be sent over another channel.
    pub(super) fn given(&mut self, pass: &Pass, request: &str, number: u64) -> Option<Ticket> {
        let is_known = match &mut self.current {
            Some(current) if current.id == pass.channel => current.numbers.insert(number, request.into()).is_some(),
            _ => self.is_lost(pass.channel),
        };
        if is_known || pass.above.is_some_and(|above| number <= above) {
            self.lose(pass.channel);
            return None;
        }
        if let Some(current) = self.current.as_mut().filter(|current| current.numbers.len() > NUMBERS_MAX) {
            current.numbers.pop_first();
        }
        Some(Ticket { channel: pass.channel, number })
    }

    /// Leaves a channel on which Splunk did not answer: it may have been restarted. New requests go over another
    /// channel; questions about earlier requests still use this one.
    pub(super) fn leave(&mut self, channel: ChannelId) {
        self.current.take_if(|current| current.id == channel && !current.numbers.is_empty());
    }

    /// Leaves a channel about which Splunk answers no questions. The next request begins another channel, and asks
    /// first.
    pub(super) fn give_up(&mut self, channel: ChannelId) {
        self.current.take_if(|current| current.id == channel);
    }

    pub(super) fn is_current(&self, channel: ChannelId) -> bool {
        self.current.as_ref().is_some_and(|current| current.id == channel)
    }

    pub(super) fn is_lost(&self, channel: ChannelId) -> bool {
        self.lost.contains(&channel)
    }

    fn lose(&mut self, channel: ChannelId) {
        self.give_up(channel);
        if !self.is_lost(channel) {
            self.lost.push_back(channel);
        }
        if self.lost.len() > LOST_MAX {
            self.lost.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ChannelId {
        ChannelId::new(name, 1)
    }

    /// A pass for a request that was never sent before. It may begin the channel `name`.
    fn over(channels: &mut Channels, name: &str) -> Pass {
        channels.pass("new", id(name))
    }

    fn given(channels: &mut Channels, pass: &Pass, number: u64) -> Option<Ticket> {
        channels.given(pass, &format!("request {number}"), number)
    }

    #[test]
    fn a_ticket_is_read_as_it_was_stored_and_nothing_else_is() {
        let ticket = Ticket { channel: id("a"), number: 70_000 };
        let State(stored) = ticket.to_state();
        assert_eq!(Ticket::from_state(&State(stored.clone())), Some(ticket));
        for length in (0..24).chain([25]) {
            let other: Vec<u8> = stored.iter().copied().chain([0; 9]).take(length).collect();
            assert_eq!(Ticket::from_state(&State(other.into())), None, "{length}");
        }
    }

    #[test]
    fn each_channel_has_a_guid_of_its_own() {
        let guid = id("a").guid();
        let lengths: Vec<usize> = guid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{guid}");
        assert!(guid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'), "{guid}");
        assert_ne!(id("a"), id("b"));
        assert_ne!(id("a"), ChannelId::new("a", 2));
    }

    #[test]
    fn answers_that_come_in_another_order_are_of_one_count() {
        let mut channels = Channels::default();
        let (first, second) = (over(&mut channels, "a"), over(&mut channels, "b"));
        assert_eq!(first.channel, second.channel);
        assert_eq!(given(&mut channels, &second, 1), Some(Ticket { channel: id("a"), number: 1 }));
        assert_eq!(given(&mut channels, &first, 0), Some(Ticket { channel: id("a"), number: 0 }));
        let third = over(&mut channels, "c");
        assert_eq!(given(&mut channels, &third, 2), Some(Ticket { channel: id("a"), number: 2 }));
    }

    #[test]
    fn a_count_that_begins_anew_makes_the_numbers_before_it_mean_nothing() {
        let mut channels = Channels::default();
        for number in 0..3 {
            let pass = over(&mut channels, "a");
            given(&mut channels, &pass, number).unwrap();
        }
        let pass = over(&mut channels, "b");
        assert_eq!(given(&mut channels, &pass, 0), None);
        assert!(channels.is_lost(id("a")) && !channels.is_current(id("a")));
        assert_eq!(over(&mut channels, "b").channel, id("b"));
        assert_eq!(given(&mut channels, &pass, 7), None, "whatever comes over the lost one");

        let mut channels = Channels::default();
        let (before, behind) = (over(&mut channels, "a"), over(&mut channels, "a"));
        given(&mut channels, &before, 0).unwrap();
        assert_eq!(given(&mut channels, &behind, 0), None, "two requests cannot have one number");
    }

    #[test]
    fn after_a_request_that_was_not_answered_another_channel_is_taken_and_the_old_one_is_still_asked() {
        let mut channels = Channels::default();
        let pass = over(&mut channels, "a");
        channels.leave(pass.channel);
        assert!(channels.is_current(id("a")), "nothing was given: nothing can be mistaken");
        given(&mut channels, &pass, 0).unwrap();
        channels.leave(pass.channel);
        assert_eq!(over(&mut channels, "b").channel, id("b"));
        assert!(!channels.is_lost(id("a")));
    }

    #[test]
    fn a_number_that_is_indexed_means_nothing_before_all_is_answered_that_may_have_been_given_it_anew() {
        let mut channels = Channels::default();
        let first = over(&mut channels, "a");
        let ticket = given(&mut channels, &first, 0).unwrap();
        channels.answered(&first);
        assert_eq!(channels.means(ticket, true), Acknowledgement::Taken);
        assert_eq!(channels.means(ticket, false), Acknowledgement::NotYet);
        let second = over(&mut channels, "a");
        let asked = channels.now();
        let third = over(&mut channels, "a");
        assert!(!channels.is_settled(id("a"), asked) && channels.is_settled(id("b"), asked));
        assert_eq!(given(&mut channels, &second, 0), None);
        channels.answered(&second);
        assert!(channels.is_settled(id("a"), asked), "what began later could not be told of");
        assert_eq!(channels.means(ticket, true), Acknowledgement::Lost);
        channels.answered(&third);
        assert!(channels.is_settled(id("a"), channels.now()));
    }

    #[test]
    fn the_first_numbers_of_a_channel_mean_nothing_where_as_many_requests_were_not_answered() {
        let mut channels = Channels::default();
        let tickets = [0, 1, 2].map(|number| {
            let pass = over(&mut channels, "a");
            channels.answered(&pass);
            given(&mut channels, &pass, number).unwrap()
        });
        let silent = [(); 2].map(|()| over(&mut channels, "a"));
        for pass in &silent {
            channels.unanswered(pass);
        }
        let means = tickets.map(|ticket| channels.means(ticket, true));
        assert_eq!(means, [Acknowledgement::Lost, Acknowledgement::Lost, Acknowledgement::Taken]);
        assert_eq!(channels.means(tickets[0], false), Acknowledgement::NotYet);
        let pass = over(&mut channels, "b");
        channels.unanswered(&pass);
        let pass = over(&mut channels, "c");
        assert_eq!(pass.channel, id("b"), "no number of it can be mistaken");
        let ticket = given(&mut channels, &pass, 0).unwrap();
        assert_eq!(channels.means(ticket, true), Acknowledgement::Taken);
    }

    #[test]
    fn a_request_that_comes_again_after_it_was_given_a_number_goes_over_another_channel() {
        let mut channels = Channels::default();
        let first = over(&mut channels, "a");
        given(&mut channels, &first, 0).unwrap();
        assert_eq!(channels.pass("request 1", id("b")).channel, id("a"));
        let again = channels.pass("request 0", id("b"));
        assert_eq!((again.channel, again.above), (id("b"), None));
        assert!(!channels.is_lost(id("a")), "others that were sent over it are still asked about");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut channels = Channels::default();
        for number in 0..5000 {
            let pass = over(&mut channels, "a");
            given(&mut channels, &pass, number).unwrap();
        }
        assert!(channels.current.as_ref().unwrap().numbers.len() <= NUMBERS_MAX + 1);
        for number in 0..200 {
            let pass = channels.pass("new", ChannelId::new("b", number));
            given(&mut channels, &pass, 0);
            given(&mut channels, &pass, 0);
            channels.unanswered(&pass);
        }
        assert!(channels.lost.len() <= LOST_MAX && channels.unanswered.len() <= LOST_MAX);
    }
}
