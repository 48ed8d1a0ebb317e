//! Sources of AWS credentials: an instance's metadata, a container's endpoint, STS. Each set of credentials has its own
//! access key and expires soon.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::aws::{Aws, Bucket, REGION};
use super::daemon::Start;
use super::proxy::Proxy;
use super::receiver::{Answer, Receiver, Request};
use super::world::World;

/// How long each set is valid. The daemon requests the next set after half of that time.
pub const LIFE: Duration = Duration::from_secs(8);

/// The token with which an instance's metadata may be read.
const METADATA_TOKEN: &str = "metadata-token";
/// The role of the instance.
const INSTANCE_ROLE: &str = "collector";

/// A source of credentials on this machine.
pub struct Source {
    /// What the daemon calls it.
    pub name: &'static str,
    receiver: Receiver,
    /// Whether a request is for credentials.
    asks: fn(&Request) -> bool,
    is_away: Arc<AtomicBool>,
}

/// The access key of the set with this number, from 1 on.
pub fn access_key(number: usize) -> String {
    format!("ISSUED{number}")
}

impl Source {
    /// The metadata of an EC2 instance: a token first (IMDSv2), then the role's name, then its credentials.
    pub fn instance() -> Self {
        let answer = |request: &Request, issued: &AtomicU32| {
            if (&*request.method, &*request.target) == ("PUT", "/latest/api/token") {
                let lasts = request.header("x-aws-ec2-metadata-token-ttl-seconds").unwrap_or_default();
                return Answer::says(200, METADATA_TOKEN).with("x-aws-ec2-metadata-token-ttl-seconds", lasts);
            }
            if request.header("x-aws-ec2-metadata-token") != Some(METADATA_TOKEN) {
                return Answer::status(401);
            }
            match request.target.strip_prefix("/latest/meta-data/iam/security-credentials/") {
                Some("") => Answer::says(200, INSTANCE_ROLE),
                Some(INSTANCE_ROLE) => Answer::says(200, &as_json(&next(issued))),
                _ => Answer::status(404),
            }
        };
        Self::that("the instance's metadata", answer, |request| request.target.ends_with(INSTANCE_ROLE))
    }

    /// The endpoint of a container (ECS, EKS Pod Identity).
    pub fn container() -> Self {
        Self::that("the container's endpoint", |_, issued| Answer::says(200, &as_json(&next(issued))), |_| true)
    }

    /// STS, which lets any role be assumed.
    pub fn sts() -> Self {
        let answer = |request: &Request, issued: &AtomicU32| {
            let text = request.text();
            let action = text.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default();
            Answer::says(200, &as_xml(action, &next(issued)))
        };
        Self::that("the web identity", answer, |_| true)
    }

    /// The portal of IAM Identity Center (SSO).
    pub fn portal() -> Self {
        let answer = |_: &Request, issued: &AtomicU32| {
            let Issued { access_key, ends } = next(issued);
            let credentials = json!({
                "accessKeyId": access_key,
                "secretAccessKey": "secret",
                "sessionToken": "session",
                "expiration": ends.as_millisecond(),
            });
            Answer::says(200, &json!({ "roleCredentials": credentials }).to_string())
        };
        Self::that("the profile", answer, |_| true)
    }

    fn that(name: &'static str, answer: fn(&Request, &AtomicU32) -> Answer, asks: fn(&Request) -> bool) -> Self {
        let (issued, is_away) = (AtomicU32::new(0), Arc::new(AtomicBool::new(false)));
        let away = Arc::clone(&is_away);
        let receiver = Receiver::with_script(move |request| match away.load(Ordering::Relaxed) {
            true => Answer::HangUp,
            false => answer(request, &issued),
        });
        Self { name, receiver, asks, is_away }
    }

    /// Whether, from now on, every connection is closed without an answer.
    pub fn is_away(&self, away: bool) {
        self.is_away.store(away, Ordering::Relaxed);
    }

    pub fn url(&self) -> String {
        self.receiver.url()
    }

    /// The requests for credentials so far.
    pub fn asked(&self) -> Vec<Request> {
        self.receiver.requests().into_iter().filter(self.asks).collect()
    }
}

/// One set of credentials.
struct Issued {
    access_key: String,
    ends: Timestamp,
}

fn next(issued: &AtomicU32) -> Issued {
    let number = issued.fetch_add(1, Ordering::Relaxed) + 1;
    Issued { access_key: access_key(number as usize), ends: Timestamp::now() + LIFE }
}

/// The form that instance metadata and a container's endpoint have.
fn as_json(issued: &Issued) -> String {
    json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": issued.access_key,
        "SecretAccessKey": "secret",
        "Token": "session",
        "Expiration": issued.ends.to_string(),
    })
    .to_string()
}

/// The form in which STS answers `action`.
fn as_xml(action: &str, issued: &Issued) -> String {
    let Issued { access_key, ends } = issued;
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{access_key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
         <SessionToken>session</SessionToken><Expiration>{ends}</Expiration></Credentials>\
         </{action}Result></{action}Response>"
    )
}

/// A bucket that the daemon lists every second by way of a proxy, which shows the access key of each request.
pub struct Read {
    pub bucket: Bucket,
    pub proxy: Proxy,
    pub world: World,
}

impl Read {
    /// `identity` is the configuration table of the identity `reader`, which reads the bucket; empty for the default
    /// chain.
    pub fn by(identity: &str) -> Self {
        let aws = Aws::emulated();
        let (bucket, proxy) = (aws.bucket(), Proxy::to(aws.address));
        let named = if identity.is_empty() { "" } else { "identity = \"reader\"\n" };
        let table = format!(
            "[feed.audit]\nfamily = \"databricks\"\nbucket = {:?}\nregion = {REGION:?}\nendpoint_url = {:?}\npath_style = true\n\
             scan_every = \"1s\"\nsinks = [\"out\"]\n{named}",
            bucket.name,
            proxy.url()
        );
        Self { world: World::new().with(&table).with(identity).with_file("out"), bucket, proxy }
    }

    /// A daemon without the access key that the tests' daemons have by default.
    pub fn start(&self) -> Start {
        self.world.run(&[]).without_access_key()
    }

    /// The access keys that signed requests so far.
    pub fn access_keys(&self) -> BTreeSet<String> {
        self.proxy.exchanges().iter().filter_map(|exchange| exchange.access_key().map(str::to_owned)).collect()
    }
}
