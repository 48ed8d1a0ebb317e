//! The promises of the HTTP client, kept against a receiver on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auditferry::testing::secret::Reference;
use auditferry::testing::transport::{
    Answer as Answered, Auth, BasicAuth, BearerAuth, ClientAuth, Endpoint, FieldName, Headers, HmacAuth, Location,
    OauthConfig, Post, Service, ServiceConfig, ServiceError, TlsConfig, TlsVersion,
};

use super::support::receiver::{Answer, Receiver, Request, fixture, root};

const NOW_MS: i64 = 1_700_000_000_000;

fn to(receiver: &Receiver) -> ServiceConfig {
    let timeout = Duration::from_secs(30);
    ServiceConfig { url: Some(Location::Url(receiver.url() + "/in")), timeout, ..ServiceConfig::default() }
}

fn file(directory: &Path, secret: &str) -> Reference {
    let path = directory.join("secret");
    fs::write(&path, secret).unwrap();
    Reference::File(path)
}

fn bearer(token: Reference) -> Option<Auth> {
    Some(Auth::Bearer(BearerAuth { token, scheme: "Bearer".to_owned() }))
}

async fn send(service: &Service, body: &'static str) -> Result<Answered, ServiceError> {
    let post = Post { path: "", query: &[], headers: Headers::default(), body: body.into(), reply_bytes_max: 64 << 10 };
    service.post(&post, NOW_MS).await
}

async fn sent(config: ServiceConfig) -> Result<Answered, ServiceError> {
    send(&Service::open(config).unwrap(), "one\n").await
}

fn misconfigured(answer: Result<Answered, ServiceError>) -> String {
    match answer {
        Err(ServiceError::Misconfigured(what)) => what,
        other => panic!("not misconfigured: {other:?}"),
    }
}

fn unavailable(answer: Result<Answered, ServiceError>) -> String {
    match answer {
        Err(ServiceError::Unavailable(what)) => what,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn a_body_and_its_headers_arrive_as_they_were_sent() {
    let receiver = Receiver::that_answers(Answer::status(202));
    let headers = BTreeMap::from([("X-Tenant".to_owned(), "blue".to_owned())]);
    let config = ServiceConfig { headers: headers.try_into().unwrap(), ..to(&receiver) };
    assert_eq!(sent(config).await.unwrap().reply.status, 202);
    let requests = receiver.requests();
    let Request { method, target, body, .. } = &requests[0];
    assert_eq!((&**method, &**target, &**body), ("POST", "/in", &b"one\n"[..]));
    assert_eq!(requests[0].header("x-tenant"), Some("blue"));
    assert_eq!(requests[0].header("authorization"), None);
}

#[tokio::test]
async fn a_status_is_an_answer_and_what_the_receiver_says_is_told_without_our_token() {
    let directory = tempfile::tempdir().unwrap();
    let receiver =
        Receiver::that_answers(Answer::says(503, "busy, Bearer hush-hush\r\nretry").with("Retry-After", "120"));
    let config = ServiceConfig { auth: bearer(file(directory.path(), "hush-hush\n")), ..to(&receiver) };
    let answer = sent(config).await.unwrap();
    assert_eq!((answer.reply.status, answer.reply.retry_after.as_deref()), (503, Some("120")));
    assert_eq!(answer.said, "busy, Bearer ***\\r\\nretry");
    assert_eq!(receiver.requests()[0].header("authorization"), Some("Bearer hush-hush"));
}

#[tokio::test]
async fn credentials_follow_no_redirect() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = Receiver::that_answers(Answer::status(200));
    let location = format!("{}/T0K3N?x", elsewhere.url());
    for status in [301, 302, 307, 308] {
        let receiver = Receiver::that_answers(Answer::status(status).with("Location", &location));
        let config = ServiceConfig { auth: bearer(file(directory.path(), "hush-hush")), ..to(&receiver) };
        let answer = sent(config).await.unwrap();
        assert_eq!(answer.reply.status, status);
        assert_eq!(answer.said, format!("it points to {}, and credentials follow no redirect", elsewhere.url()));
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_body_is_kept_up_to_its_limit_and_never_waited_for_too_long() {
    let receiver = Receiver::that_answers(Answer::Oversized { status: 500, bytes: 5 << 20 });
    let answer = sent(to(&receiver)).await.unwrap();
    assert_eq!((answer.reply.status, answer.reply.body.len()), (500, 64 << 10));
    assert_eq!(answer.reply.whole().unwrap_err().to_string(), "the answer is longer than 65536 bytes");

    let brief = |receiver: &Receiver| ServiceConfig { timeout: Duration::from_secs(2), ..to(receiver) };
    receiver.answers(Answer::Stalled { status: 200 });
    let answer = sent(brief(&receiver)).await.unwrap();
    assert_eq!(answer.reply.status, 200);
    assert!(answer.reply.whole().is_err(), "a body that ends early is not whole");
    receiver.answers(Answer::Silence);
    assert_eq!(unavailable(sent(brief(&receiver)).await), "there was no whole answer in time");
    receiver.answers(Answer::HangUp);
    assert!(unavailable(sent(to(&receiver)).await).starts_with("the service cannot be reached: "));
    assert_eq!(receiver.requests().len(), 4, "nothing is sent twice by the client itself");
}

#[tokio::test]
async fn who_is_not_there_is_unavailable_and_who_is_no_place_to_send_to_is_a_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let at = |url: String| ServiceConfig { url: Some(Location::Url(url)), ..ServiceConfig::default() };
    unavailable(sent(at(format!("http://{address}/in"))).await);
    unavailable(sent(at("https://nowhere.invalid/in".to_owned())).await);
    let refused = Service::open(at("http://169.254.169.254/in".to_owned())).err().unwrap().to_string();
    assert!(refused.contains("hands out credentials"), "{refused}");
    let plain = Service::open(at("http://192.0.2.1/in".to_owned())).err().unwrap().to_string();
    assert!(plain.contains("expected https://"), "{plain}");
}

#[tokio::test]
async fn a_secret_that_changed_is_read_again_when_it_is_refused_and_asked_for_once() {
    for status in [401, 403] {
        let directory = tempfile::tempdir().unwrap();
        let receiver = Receiver::with_script(move |request| {
            let is_known = request.header("authorization") == Some("Bearer new-token");
            if is_known { Answer::status(200) } else { Answer::says(status, "who are you, old-token?") }
        });
        let config = ServiceConfig { auth: bearer(file(directory.path(), "old-token")), ..to(&receiver) };
        let service = Service::open(config).unwrap();
        let answer = send(&service, "one\n").await.unwrap();
        assert_eq!((answer.reply.status, &*answer.said), (status, "who are you, ***?"));
        assert_eq!(receiver.requests().len(), 1, "the secret is the same: it is not sent again");
        file(directory.path(), "new-token");
        assert_eq!(send(&service, "one\n").await.unwrap().reply.status, 200);
        assert_eq!(send(&service, "two\n").await.unwrap().reply.status, 200);
        let bodies: Vec<Vec<u8>> = receiver.requests().into_iter().map(|request| request.body).collect();
        assert_eq!(bodies, [b"one\n", b"one\n", b"one\n", b"two\n"]);
        fs::remove_file(directory.path().join("secret")).unwrap();
        receiver.answers(Answer::status(401));
        assert_eq!(send(&service, "x").await.unwrap().reply.status, 401, "what cannot be read changes nothing");
    }
}

#[tokio::test]
async fn a_url_that_is_a_secret_is_used_and_never_told() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::that_answers(Answer::says(404, "no collector at /receiver/v1/http/T0K3N (T0K3N)"));
    let url = file(directory.path(), &format!("{}/receiver/v1/http/T0K3N", receiver.url()));
    let config = ServiceConfig { url: Some(Location::Secret(url)), ..ServiceConfig::default() };
    assert_eq!(sent(config.clone()).await.unwrap().said, "no collector at *** (***)");
    assert_eq!(receiver.requests()[0].target, "/receiver/v1/http/T0K3N");
    file(directory.path(), "T0K3N");
    let error = Service::open(config).err().unwrap().to_string();
    assert!(error.starts_with("the URL cannot be used: expected a URL") && !error.contains("T0K3N"), "{error}");
}

#[tokio::test]
async fn a_password_is_sent_and_a_receiver_that_echoes_it_is_masked() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::with_script(|request| {
        Answer::says(500, &format!("{} open sesame", request.header("authorization").unwrap()))
    });
    let auth = Auth::Basic(BasicAuth { user: "Aladdin".to_owned(), password: file(directory.path(), "open sesame") });
    let answer = sent(ServiceConfig { auth: Some(auth), ..to(&receiver) }).await.unwrap();
    assert_eq!(answer.said, "Basic *** ***");
    assert_eq!(receiver.requests()[0].header("authorization"), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
}

#[tokio::test]
async fn a_signature_is_of_the_time_and_the_body() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::that_answers(Answer::status(200));
    let name = FieldName::from_static("x-signature");
    let auth = Auth::Hmac(HmacAuth { key: file(directory.path(), "key"), name });
    sent(ServiceConfig { auth: Some(auth), ..to(&receiver) }).await.unwrap();
    // printf '1700000000.one\n' | openssl dgst -sha256 -hmac key
    let expected = "t=1700000000,v1=51e8ec1668f7a1003e89856e050946c85ada4568901d89518c7eb0f4b56e48e8";
    assert_eq!(receiver.requests()[0].header("x-signature"), Some(expected));
}

/// A token endpoint that issues `token-1`, `token-2` and so on.
fn tokens() -> Receiver {
    let mut count = 0;
    Receiver::with_script(move |_| {
        count += 1;
        Answer::says(200, &format!(r#"{{"access_token":"token-{count}","token_type":"Bearer","expires_in":3600}}"#))
    })
}

fn oauth(tokens: &Receiver, directory: &Path, client_auth: ClientAuth) -> Option<Auth> {
    Some(Auth::Oauth2(OauthConfig {
        token_url: Endpoint::try_from(tokens.url() + "/oauth/token").unwrap(),
        client_id: "ferry".to_owned(),
        client_secret: file(directory, "hush&hush"),
        scope: Some("logs.write all".to_owned()),
        audience: Some("https://siem.example".to_owned()),
        client_auth,
    }))
}

#[tokio::test]
async fn a_token_is_fetched_once_and_again_when_it_is_not_taken() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = tokens();
    let known = Arc::new(Mutex::new("Bearer token-1"));
    let taken = Arc::clone(&known);
    let receiver = Receiver::with_script(move |request| {
        let is_known = request.header("authorization") == Some(&**taken.lock().unwrap());
        Answer::says(if is_known { 200 } else { 401 }, "not token-1, not token-2")
    });
    let config = ServiceConfig { auth: oauth(&tokens, directory.path(), ClientAuth::Body), ..to(&receiver) };
    let service = Service::open(config).unwrap();
    for _ in 0..2 {
        assert_eq!(send(&service, "one\n").await.unwrap().reply.status, 200);
    }
    assert_eq!(tokens.requests().len(), 1);
    *known.lock().unwrap() = "Bearer token-2";
    let answer = send(&service, "two\n").await.unwrap();
    assert_eq!((answer.reply.status, &*answer.said), (200, "not token-1, not ***"));
    let asked = tokens.requests();
    assert_eq!((asked.len(), &*asked[0].target, asked[0].header("authorization")), (2, "/oauth/token", None));
    assert_eq!(asked[0].header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(
        asked[0].text(),
        "grant_type=client_credentials&scope=logs.write+all&audience=https%3A%2F%2Fsiem.example&client_id=ferry\
         &client_secret=hush%26hush"
    );
}

#[tokio::test]
async fn a_client_may_show_its_secret_in_the_head() {
    let directory = tempfile::tempdir().unwrap();
    let (tokens, receiver) = (tokens(), Receiver::that_answers(Answer::status(200)));
    sent(ServiceConfig { auth: oauth(&tokens, directory.path(), ClientAuth::Basic), ..to(&receiver) }).await.unwrap();
    let asked = &tokens.requests()[0];
    // printf 'ferry:hush&hush' | base64
    assert_eq!(asked.header("authorization"), Some("Basic ZmVycnk6aHVzaCZodXNo"));
    assert!(!asked.text().contains("hush"), "{}", asked.text());
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_is_a_fault_and_one_that_fails_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::that_answers(Answer::status(200));
    let tokens = Receiver::that_answers(Answer::says(401, r#"{"error":"invalid_client: hush&hush"}"#));
    let service = || {
        let auth = oauth(&tokens, directory.path(), ClientAuth::Body);
        Service::open(ServiceConfig { auth, timeout: Duration::from_secs(30), ..to(&receiver) }).unwrap()
    };
    assert_eq!(
        misconfigured(send(&service(), "x").await),
        r#"the token endpoint answers with status 401: {"error":"invalid_client: ***"}"#
    );
    for answer in [Answer::status(503), Answer::status(429), Answer::says(200, "<html>"), Answer::HangUp] {
        tokens.answers(answer);
        unavailable(send(&service(), "x").await);
    }
    tokens.answers(Answer::Oversized { status: 200, bytes: 1 << 20 });
    assert_eq!(unavailable(send(&service(), "x").await), "the answer is longer than 65536 bytes");
    assert!(receiver.requests().is_empty(), "nothing is sent without a token");
}

fn trusting(receiver: &Receiver, ca: Option<&str>, client: bool) -> ServiceConfig {
    let tls = TlsConfig {
        ca: ca.map(fixture),
        cert: client.then(|| fixture("client.pem")),
        key: client.then(|| fixture("client.key.pem").display().to_string().try_into().unwrap()),
        min_version: TlsVersion::Tls12,
    };
    ServiceConfig { tls, ..to(receiver) }
}

#[tokio::test]
async fn a_receiver_is_trusted_by_the_configured_authority_alone() {
    let receiver = Receiver::over_tls(|_| Answer::status(200));
    assert_eq!(root(), fixture("root.pem"));
    assert_eq!(sent(trusting(&receiver, Some("root.pem"), false)).await.unwrap().reply.status, 200);
    for ca in [None, Some("client-root.pem")] {
        let what = misconfigured(sent(trusting(&receiver, ca, false)).await);
        assert!(what.starts_with("TLS fails: invalid peer certificate"), "{what}");
    }
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_certificate_is_shown_ours() {
    let receiver = Receiver::over_mutual_tls(|_| Answer::status(200));
    assert_eq!(sent(trusting(&receiver, Some("root.pem"), true)).await.unwrap().reply.status, 200);
    let what = misconfigured(sent(trusting(&receiver, Some("root.pem"), false)).await);
    assert!(what.starts_with("TLS fails: received fatal alert"), "{what}");
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_proxy_is_gone_through_with_its_own_credentials() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::that_answers(Answer::status(200));
    let proxy = Receiver::that_answers(Answer::status(201));
    let config = ServiceConfig {
        proxy: Some(proxy.url()),
        proxy_credentials: Some(file(directory.path(), "Aladdin:open sesame")),
        ..to(&receiver)
    };
    assert_eq!(sent(config.clone()).await.unwrap().reply.status, 201);
    let asked = &proxy.requests()[0];
    assert_eq!(asked.target, receiver.url() + "/in");
    assert_eq!(asked.header("proxy-authorization"), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    assert!(receiver.requests().is_empty());
    // For a URL over TLS, the client asks the proxy for a tunnel.
    proxy.answers(Answer::status(407));
    let config = ServiceConfig { url: Some(Location::Url("https://siem.example/in".to_owned())), ..config };
    assert_eq!(misconfigured(sent(config).await), "the proxy wants other credentials");
    assert_eq!((&*proxy.requests()[1].method, &*proxy.requests()[1].target), ("CONNECT", "siem.example:443"));
}
