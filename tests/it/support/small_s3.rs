//! An S3 with one object in one bucket, as a script for a receiver: where no emulator can be, over TLS or with a clock of its own.

use super::receiver::{Answer, Request};
use super::world::key;

/// Lists the object of number 0, and hands it out.
pub fn answer(request: &Request, content: &[u8]) -> Answer {
    if request.target.contains("list-type=2") {
        let listing = format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>{}</Key><Size>{}</Size>\
             <ETag>\"e1\"</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>",
            key(0),
            content.len()
        );
        return Answer::says(200, &listing);
    }
    Answer::Reply { status: 200, headers: Vec::new(), body: content.to_vec() }.with("ETag", "\"e1\"")
}

/// A feed of that bucket, which is asked for at `url`. `more` are further keys.
pub fn feed(url: &str, more: &str) -> String {
    format!(
        "[feed.audit]\nfamily = \"databricks\"\nbucket = \"logs\"\nregion = \"us-east-1\"\nendpoint_url = {url:?}\npath_style = true\n\
         scan_every = \"1s\"\nsinks = [\"out\"]\n{more}\n"
    )
}
