//! Finds keys that name different regions, and keys whose region is not known at all.

use crate::config::found::Found;
use crate::config::{Config, feed};
use crate::identity::endpoint::region_of;
use crate::sink::Output;
use crate::transport::Location;

/// Reports an ARN, URL or endpoint with another region than the configured one.
pub(super) fn check(config: &Config, found: &mut Found) {
    for (name, feed) in &config.feed {
        let region = feed.region.as_deref();
        let at = ["feed", name, "region"];
        compare(&at, region, "bucket", feed.bucket.as_deref().and_then(of_arn), found);
        compare(&at, region, "endpoint_url", feed.endpoint_url.as_deref().and_then(region_of), found);
        for through in feed.read_through.values() {
            compare(&at, region, "read_through", of_arn(through), found);
        }
        if let Some(queue) = feed.queue.as_deref().filter(|queue| !config.queue.contains_key(*queue))
            && let (Some(region), Some(other)) = (region, region_of(queue))
            && region != other
        {
            let message = format!(
                "the queue is in {other}, and the feed's region is {region}; give the queue a [queue.<name>] table"
            );
            found.problem(&["feed", name, "queue"], message);
        }
    }
    for (name, queue) in &config.queue {
        let (region, at) = (queue.region.as_deref(), ["queue", name, "region"]);
        compare(&at, region, "url", queue.url.as_deref().and_then(region_of), found);
        compare(&at, region, "endpoint_url", queue.endpoint_url.as_deref().and_then(region_of), found);
    }
    for (name, sink) in &config.sink {
        let Some(aws) = sink.kind.aws() else { continue };
        let at = ["sink", name, "region"];
        if let Output::Bucket { bucket, endpoint_url, .. } = sink.kind.output() {
            compare(&at, aws.region, "bucket", of_arn(bucket), found);
            compare(&at, aws.region, "endpoint_url", endpoint_url.and_then(region_of), found);
        }
        if let Some(Location::Url(url)) = sink.kind.service().and_then(|service| service.url.as_ref()) {
            compare(&at, aws.region, "url", region_of(url), found);
        }
    }
    for (name, identity) in &config.identity {
        for (index, role) in identity.assume_role.iter().enumerate() {
            let (region, index) = (role.region.as_deref(), index.to_string());
            let at = ["identity", name, "assume_role", &index, "region"];
            compare(&at, region, "endpoint_url", role.endpoint_url.as_deref().and_then(region_of), found);
            let partition = role.role_arn.split(':').nth(1);
            if let (Some(region), Some(partition)) = (region, partition)
                && partition != partition_of(region)
            {
                let message =
                    format!("{region} is in the partition {}, and the role in {partition}", partition_of(region));
                found.problem(&at, message);
            }
        }
    }
}

fn compare(at: &[&str], region: Option<&str>, key: &str, told: Option<String>, found: &mut Found) {
    if let (Some(region), Some(told)) = (region, told)
        && region != told
    {
        found.problem(at, format!("is {region}, and `{key}` is of {told}; expected one of the two"));
    }
}

/// The region in an ARN; `None` if it has none.
fn of_arn(text: &str) -> Option<String> {
    let region = text.strip_prefix("arn:")?.split(':').nth(2)?;
    (!region.is_empty()).then(|| region.to_owned())
}

/// The partition of a region (AWS General Reference).
fn partition_of(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        region if region.starts_with("eusc-") => "aws-eusc",
        region if region.starts_with("us-iso-") => "aws-iso",
        region if region.starts_with("us-isob-") => "aws-iso-b",
        _ => "aws",
    }
}

/// The keys of feeds, queues and sinks that need a region from the environment, because they use AWS itself and name
/// none.
pub(super) fn missing(config: &Config) -> Vec<[&str; 3]> {
    let asks_aws = |feed: &&feed::Config| feed.bucket.is_some() && feed.endpoint_url.is_none() && feed.region.is_none();
    let feeds = config.feed.iter().filter(|(_, feed)| asks_aws(feed));
    let feeds = feeds.filter(|(_, feed)| feed.bucket.as_deref().and_then(of_arn).is_none());
    let queues = config.queue.iter().filter(|(_, queue)| queue.region().is_none() && queue.endpoint_url.is_none());
    let queues = queues.filter(|(_, queue)| queue.url.as_deref().is_none_or(|url| url.starts_with("https://sqs.")));
    let sinks = config.sink.iter().filter(|(_, sink)| {
        let is_elsewhere = matches!(sink.kind.output(), Output::Bucket { endpoint_url: Some(_), .. });
        sink.kind.aws().is_some_and(|aws| aws.region.is_none()) && !is_elsewhere
    });
    let at = |section, name| [section, name, "region"];
    let feeds = feeds.map(|(name, _)| at("feed", name.as_str()));
    let queues = queues.map(|(name, _)| at("queue", name.as_str()));
    feeds.chain(queues).chain(sinks.map(|(name, _)| at("sink", name.as_str()))).collect()
}
