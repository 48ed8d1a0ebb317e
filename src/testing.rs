//! Re-exports for the tests, benches and fuzz targets of this crate. None of them is a stable interface for others.

pub mod batch {
    pub use crate::batch::{Buffers, Lane, Request, RequestLimits, Selection};
}

pub mod checkpoint {
    pub use crate::checkpoint::{
        Answer, DiskScratch, Durability, Inspection, Quarantine, Selection, SinkPosition, SqliteStore, Store, Writing,
        back_up,
    };
}

pub mod collector {
    pub use crate::collector::{Error, Mode, run_in};

    pub mod clock {
        pub use crate::collector::clock::Clock;
    }

    pub mod compute {
        pub use crate::collector::compute::Compute;
    }

    pub mod random {
        pub use crate::collector::random::Random;
    }

    pub mod shutdown {
        pub use crate::collector::shutdown::{Stop, channel};
    }

    pub mod world {
        pub use crate::collector::world::World;
    }
}

pub mod config {
    pub use crate::config::{Admin, Config, Limits, Log, feed};

    pub mod load {
        pub use crate::config::load::load;
    }
}

pub mod delta {
    pub use crate::delta::{Fingerprint, Places, Progress, RecordHash};

    pub mod table {
        pub use crate::delta::table::{MemoryTable, ScratchTable};
    }
}

pub mod event {
    pub use crate::event::{
        Activity, Class, Cloud, Column, Columns, Databucket, Encoded, Encoder, EncodingName, Endpoint, Event, EventId,
        File, Group, HttpResponse, Mapping, Namespace, OcsfVersion, Options, Origin, Product, Resource, Scope, Seen,
        Status, Tls, User, UserKind, Value,
    };
}

pub mod family {
    pub use crate::family::{
        Action, Context, Family, RecordBudget, Redaction, RedactionConfig, Refusal, S3aPrincipal, Settings,
        encode_record, named,
    };
}

pub mod identity {
    pub use crate::identity::{Config, RoleConfig};

    pub mod fault {
        pub use crate::identity::fault::FaultKind;
    }
}

pub mod mask {
    pub use crate::mask::masked;
}

pub mod notification {
    pub use crate::notification::{ObjectChange, ObjectId};

    pub mod parse {
        pub use crate::notification::parse::parse;
    }

    pub mod queue {
        pub use crate::notification::queue::{
            Attributes, Config, Message, Outcome, Queue, QueueError, ReceiptHandle, Redrive,
        };
    }

    pub mod scan {
        pub use crate::notification::scan::{Found, ScanError};
    }

    pub mod sqs {
        pub use crate::notification::sqs::SqsQueue;
    }
}

pub mod object {
    pub use crate::object::{
        Answer, Body, Chunks, Condition, MemoryPlace, Objects, Part, Place, Range, ReadError, Reading, Snapshot,
        Version,
    };

    pub mod inflate {
        pub use crate::object::compression::InflateLimits;
        pub use crate::object::inflate::Inflate;
    }
}

pub mod reading {
    pub use crate::reading::{
        Contexts, Deliver, Input, Limits, Need, Output, Plan, QuarantinedPlaces, Scratch, Step, deliver,
    };
}

pub mod records {
    pub use crate::records::Record;

    pub mod lines {
        pub use crate::records::block::Item;
        pub use crate::records::lines::{Lines, Start};
    }

    pub mod rows {
        pub use crate::records::rows::{Limits, Rows, are_in};
    }
}

pub mod room {
    pub use crate::room::Room;
}

pub mod secret {
    pub use crate::secret::Reference;
}

pub mod sink {
    pub use crate::sink::{
        Acknowledgement, Answer, BatchConfig, Delivery, DeliveryError, ElasticsearchConfig, EncodingConfig, FileConfig,
        FilterConfig, Flow, HecConfig, HttpConfig, MemoryKind, MemoryReceiver, NETWORK_KEYS, PRESETS, Preset, S3Config,
        SHARED_KEYS, SentinelConfig, State, StdoutConfig, memory,
    };
}

pub mod transport {
    pub use crate::transport::{
        Answer, Auth, BasicAuth, BearerAuth, ClientAuth, Endpoint, EntraConfig, FieldName, HeaderAuth, Headers,
        HmacAuth, Location, ManagedIdentityConfig, OauthConfig, Post, Service, ServiceConfig, ServiceError,
        StatusConfig, TlsConfig, TlsVersion,
    };
}

pub mod users {
    pub use crate::users::{Config, LookedUp, Lookup, Users};
}
