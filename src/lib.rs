//! Carries audit logs out of S3 into a SIEM, each record once.
//!
//! ```text
//! notification -> object -> records -> delta -> event -> batch -> sink -> checkpoint
//!  what changed   its bytes  one by one  new ones  OCSF    grouped  sent    remembered
//! ```
//!
//! The modules below stand in the order in which data passes them, and a module uses only modules above it. `collector`
//! moves one change along the whole path; it alone spawns tasks, sleeps, retries, reads the clock and logs. What stands
//! between (records, delta, event, family, batch, reading, and what each sink encodes and classifies) is plain functions.
//! `README.md` beside this file has the architecture, the invariants and the decisions.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | feed | one configured source: a family of log, a place, an identity, a queue, the sinks it goes to |
//! | family | a kind of log: its keys, framing, growth, decoding and redaction |
//! | place | where a feed's objects are: a bucket, a directory, or memory |
//! | object | a bucket and a key, or a file below a feed's directory; it *changes* when it is written again |
//! | record | one line or row as the source wrote it; records are *read* |
//! | event | a normalized record; events are *sent* |
//! | credential chain, step | the first credentials, then one assumed role after another; one of them |
//! | fingerprint | the first 128 bits of a record's SHA-256 |
//! | delta | the records of an object's content that were not accepted before |
//! | accepted sequence | an object's records in the order in which they were first seen; a record's number in it is its *place* |
//! | position | what is known of an object, and of each sink its *cursor* in the accepted sequence, its gap, and the reading it was last offered whole |
//! | gap | places before a sink's cursor that it has not had: their records were gone, or are out of quarantine; they are delivered once they are there |
//! | advance | one step of a sink in one object, applied by comparison: from a place to a place, or filling places of its gap |
//! | part | encoded events of one stretch of one object, for one sink |
//! | piece | the events of a part as they were encoded and hashed: what a batch is cut into, and compared by |
//! | lane | one of a sink's streams of batches, with a sequence and a state of its own |
//! | batch | parts for one lane, *sealed* before they are sent and *committed* when the sink has them |
//! | request | what is sent to a receiver at once: some of a batch's events, cut by limits that are sealed with the batch |
//! | window | how many batches of a lane may be sealed and not committed |
//! | pending | sent events of which the receiver says later whether it has them |
//! | gathering sink | one that makes few large things: its batches wait until they are large or old, and no job waits for them |
//! | manifest | what is written of a batch when it is sealed: enough to make it again |
//! | receipt, proof | what only a sink makes once it has a batch; what a message is deleted in exchange for |
//! | rebuild | making a sealed batch again after a crash, byte for byte |
//! | reader, pump | one reading of one version, as a machine that asks for bytes and emits parts; what drives it |
//! | fan-out, output | from records to parts, each record encoded once per encoding; one receiver of parts |
//! | scratch | room on disk for one reading: records that come in another order than they were accepted in, and fingerprints past memory |
//! | room, budget | the memory of one reading: a base, and what is lent to it; what all of them have together beyond their bases |
//! | services | what every job works with |
//! | in-flight message, ack handle | a message received and not yet deleted; one change's share in it |
//! | read request, pending change | what asks for an object to be read; what of that waits for the object's next job |
//! | awaiting acknowledgement | messages of an object that was read, while some sink has neither had it nor has it in its backlog |
//! | job | one reading of one object, brought to some sinks |
//! | sink worker | one sink's task: gathers batches, seals, sends, commits |
//! | delivery tracker | a job's account with one sink: parts offered, sealed, committed |
//! | backlog | a sink's: objects that it has not had; a feed's: objects that cannot be read. Their messages are settled once the entry is written down |
//! | probe | one try with one object, which decides for all that fail alike |
//! | retry | trying again what failed, after a wait that grows |
//! | parked | a sink that needs mending: asked again now and then, and no event is given up |
//! | storm | a receiver refuses most of what it is sent for one reason: its sink is parked, and nothing is quarantined |
//! | envelope | what a shipper puts around a record; an event out of one that clients could have written is *enveloped* |
//! | record budget | how many events and bytes are told of one record; past it the last event is *incomplete* |
//! | mask | to put `***` in a secret's place, in a record's text before it is decoded; *redaction* is what a feed asks for besides |
//! | claim | what a client says of itself; where an event names it, it is labelled |
//! | decode error | why a record gives no event; it is *refused* then, and goes to quarantine |
//! | quarantine | what cannot be decoded or is refused for ever, with its coordinates, the reason and a way back |

mod visible;

mod secret;

mod units;

mod identity;

mod transport;

mod room;

mod notification;

mod object;

mod records;

mod mask;

mod delta;

mod users;

mod event;

mod family;

mod batch;

mod reading;

mod sink;

mod checkpoint;

mod config;

mod telemetry;

mod admin;

mod collector;

pub mod cli;

pub mod testing;
