//! Carries audit logs out of S3 into a SIEM, each record once.
//!
//! ```text
//! notification -> object -> records -> delta -> event -> batch -> sink -> checkpoint
//!  what changed   its bytes  one by one  new ones  OCSF    grouped  sent    remembered
//! ```
//!
//! The modules are declared in the order in which data passes through them, and a module uses only modules above it.
//! `collector` moves one change along the whole path; it alone spawns tasks, sleeps, retries, reads the clock and logs.
//! The stages between (records, delta, event, family, batch, reading, and what each sink encodes and classifies) are
//! plain functions. `README.md` beside this file has the architecture, the invariants and the decisions.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | feed | one configured source: a log family, a place, an identity, a queue, and the sinks that its events go to |
//! | family | a kind of log: its keys, framing, growth, decoding and redaction |
//! | place | where a feed's objects are: a bucket, a directory, or memory |
//! | object | a bucket and a key, or a file below a feed's directory; it *changes* when it is written again |
//! | record | one line or row as the source wrote it; records are *read* |
//! | event | a normalized record; events are *sent* |
//! | credential chain, step | the first credentials and the roles that are assumed one after another; one element of the chain |
//! | fingerprint | the first 128 bits of a record's SHA-256 |
//! | delta | the records of an object's content that were not accepted before |
//! | accepted sequence | an object's records in the order in which they were first seen; a record's number in it is its *place* |
//! | position | what is stored of an object: how much was accepted and, for each sink, its *cursor* in the accepted sequence, its gap, and the last reading that was offered to it whole |
//! | gap | places before a sink's cursor that the sink has not had: their records had vanished, or were released from quarantine; they are delivered as soon as their records can be read |
//! | advance | one step of a sink in one object, applied by compare-and-set: it moves the cursor from one place to another, or fills places of the gap |
//! | part | encoded events of one stretch of one object, for one sink |
//! | stream, tally | the records of one feed on their way to one sink, as metrics count them; the outcomes of one part's records |
//! | piece | events of a part that were encoded and hashed together: batches are cut between pieces, and compared by them |
//! | lane | one of a sink's streams of batches, with a sequence and a state of its own |
//! | batch | parts for one lane, *sealed* before they are sent and *committed* when the sink has them |
//! | request | what is sent to a receiver in one message: some or all of a batch's events, cut by limits that are sealed with the batch |
//! | window | how many batches of a lane may be sealed but not yet committed |
//! | pending | sent events that the receiver acknowledges only later |
//! | gathering sink | a sink that makes few large objects or files: its batches wait until they are large or old, and no job waits for them |
//! | manifest | what is stored of a batch when it is sealed: enough to rebuild it |
//! | receipt, proof | a value that only a sink can make, when it has a batch; a value without which a message cannot be deleted |
//! | rebuild | making a sealed batch again after a crash, byte for byte |
//! | reader, pump | one reading of one version, as a state machine that asks for bytes and emits parts; the code that drives it |
//! | fan-out, output | the step from records to parts, which encodes each record once per encoding; one receiver of parts |
//! | scratch | disk space of one reading: for records in another order than they were accepted in, and for fingerprints that do not fit in memory |
//! | room, budget | the memory of one reading: a base, and what it has borrowed; the memory that all readings together may borrow |
//! | services | what all jobs share |
//! | in-flight message, ack handle | a message received and not yet deleted; the share of one change in it |
//! | read request, pending change | a request to read an object; the changes that wait for the object's next job |
//! | awaiting acknowledgement | messages of an object that was read, while some sink neither has it nor has added it to its backlog |
//! | job | one reading of one object, delivered to some sinks |
//! | sink worker | one sink's task: gathers batches, seals, sends, commits |
//! | delivery tracker | a job's account with one sink: parts offered, sealed, committed |
//! | backlog | of a sink: objects not yet delivered to it; of a feed: objects that cannot be read. Their messages are settled once the entry is stored |
//! | probe | one try with one object, which decides for all objects that fail in the same way |
//! | retry | another try of what failed, after a growing wait |
//! | parked | a sink that an operator must repair: it is tried now and then, and no event is dropped |
//! | storm | a receiver rejects most of what it is sent, for one reason: its sink is parked, and nothing is quarantined |
//! | envelope | what a shipper puts around a record; an event from an envelope that a client could have forged is labelled *enveloped* |
//! | record budget | how many events and bytes one record may give; past it, one more event is sent, labelled *incomplete* |
//! | mask | to put `***` in a secret's place, in a record's text before it is decoded; *redaction* is what a feed's configuration asks for besides |
//! | claim | what a client says of itself; an event that has it is labelled |
//! | decode error | why a record gives no event; the record is *refused*, and goes to quarantine |
//! | quarantine | records that cannot be decoded and events that a receiver rejects for good, with their coordinates, the reason, and a way to release them |

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
