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
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | feed | one configured source: a family of log, a place, an identity, a queue, the sinks it goes to |
//! | object | a bucket and a key, or a file below a feed's directory; it *changes* when it is written again |
//! | record | one line or row as the source wrote it; records are *read* |
//! | event | a normalized record; events are *sent* |
//! | delta | the records of an object's content that were not accepted before |
//! | accepted sequence | an object's records in the order in which they were first seen; each sink has a *cursor* in it |
//! | position | what is known of an object, and where each sink stands with it |
//! | part | encoded events of one stretch of one object, for one sink |
//! | lane | one of a sink's streams of batches, with a sequence and a state of its own |
//! | piece | the events of a part as they were encoded and hashed: what a batch is cut into, and compared by |
//! | batch | parts for one lane, *sealed* before they are sent and *committed* when the sink has them |
//! | manifest | what is written of a batch when it is sealed: enough to make it again |
//! | backlog | objects that a sink has not had: their messages wait, or are settled once the entry is written down |
//! | in-flight message | a message received and not yet deleted; an *ack handle* is one change's share in it |
//! | read request, pending change | what asks for an object to be read; what of that waits for the object's next job |
//! | job | one reading of one object, brought to some sinks |
//! | reader, pump | one reading as a machine that asks for bytes and gives out parts; what brings it both |
//! | tracker | a job's account with one sink: parts offered, sealed, committed |
//! | sink worker | one sink's task: makes batches, seals, sends, commits |
//! | fan-out | from records to each sink's parts, each record encoded once per encoding |
//! | scratch | records kept on disk while they come in another order than they were accepted in |
//! | rebuild | making a sealed batch again after a crash, byte for byte |
//! | quarantine | what cannot be decoded or is refused for ever, with its coordinates, the reason and a way back |

pub mod secret;

pub mod transport;

pub mod identity;

pub mod notification;

pub mod object;

pub mod records;

pub mod delta;

pub mod users;

pub mod event;

pub mod family;

pub mod batch;

pub mod reading;

pub mod sink;

pub mod checkpoint;

pub mod config;

pub mod telemetry;

pub mod admin;

pub mod collector;

pub mod cli;
