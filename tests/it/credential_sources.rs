//! Wherever credentials come from, they are renewed, and reading goes on with the new ones.

use std::path::Path;

use super::support::aws::REGION;
use super::support::credentials::{Read, Source, access_key};
use super::support::daemon::Start;
use super::support::records::{object, records};
use super::support::waiting::{SOON, eventually};
use super::support::world::key;

const ROLE: &str = "arn:aws:iam::000000000000:role/audit-reader";

/// Runs the daemon until it delivers an object that was written after it used its third set of credentials. Calls
/// `renewed` after the first set was used.
fn goes_on_with_new_credentials(read: &Read, start: &Start, renewed: impl FnOnce()) {
    read.bucket.put(&key(0), &object(&records(0..3)));
    let daemon = start.ready();
    read.world.comes_to("out", 3);
    renewed();
    eventually("the third set of credentials is used", SOON, || read.access_keys().contains(&access_key(3)));
    read.bucket.put(&key(1), &object(&records(3..6)));
    read.world.comes_to("out", 6);
    assert!(daemon.stop().success());
    read.world.delivered_once_each(&records(0..6));
    let keys = read.access_keys();
    assert!((1..=3).all(|number| keys.contains(&access_key(number))), "{keys:?}");
    assert!(!keys.contains("test"), "the environment's key was used: {keys:?}");
}

/// Replaces a token by a rename, as token rotation does.
fn rotate(path: &Path, token: &str) {
    let aside = path.with_extension("new");
    std::fs::write(&aside, token).unwrap();
    std::fs::rename(aside, path).unwrap();
}

#[test]
fn an_instances_credentials_are_renewed() {
    let read = Read::by("");
    let source = Source::instance();
    let start = read
        .start()
        .with_environment("AWS_EC2_METADATA_DISABLED", "false")
        .with_environment("AWS_EC2_METADATA_SERVICE_ENDPOINT", &source.url());
    goes_on_with_new_credentials(&read, &start, || {});
    assert!(source.asked().len() >= 3);
}

#[test]
fn a_containers_credentials_are_renewed_with_the_token_that_its_file_holds_by_then() {
    let read = Read::by("");
    let source = Source::container();
    let token = read.world.path("token");
    rotate(&token, "first-token");
    let start = read
        .start()
        .with_environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/v1/credentials", source.url()))
        .with_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap());
    goes_on_with_new_credentials(&read, &start, || rotate(&token, "second-token"));
    let asked = source.asked();
    assert!(asked.iter().all(|request| request.target == "/v1/credentials"));
    let tokens: Vec<&str> = asked.iter().filter_map(|request| request.header("authorization")).collect();
    assert_eq!(
        (tokens.first(), tokens.last(), tokens.len()),
        (Some(&"first-token"), Some(&"second-token"), asked.len())
    );
}

#[test]
fn a_web_identitys_credentials_are_renewed_with_the_token_that_its_file_holds_by_then() {
    let read = Read::by("");
    let source = Source::sts();
    let token = read.world.path("token");
    rotate(&token, "first-token");
    let start = read
        .start()
        .with_environment("AWS_ENDPOINT_URL_STS", &source.url())
        .with_environment("AWS_ROLE_ARN", ROLE)
        .with_environment("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap());
    goes_on_with_new_credentials(&read, &start, || rotate(&token, "second-token"));
    let asked: Vec<String> = source.asked().iter().map(|request| request.text()).collect();
    assert!(
        asked.iter().all(|form| form.contains("Action=AssumeRoleWithWebIdentity") && form.contains("audit-reader"))
    );
    assert!(asked.first().is_some_and(|form| form.contains("WebIdentityToken=first-token")), "{asked:?}");
    assert!(asked.last().is_some_and(|form| form.contains("WebIdentityToken=second-token")), "{asked:?}");
}

/// A role that the configuration names is assumed again.
#[test]
fn an_assumed_roles_credentials_are_renewed() {
    let source = Source::sts();
    let read = Read::by(&format!(
        "[[identity.reader.assume_role]]\nrole_arn = {ROLE:?}\nendpoint_url = {:?}\nregion = {REGION:?}\n",
        source.url()
    ));
    goes_on_with_new_credentials(&read, &read.world.run(&[]), || {});
    assert!(source.asked().iter().all(|request| request.text().contains("Action=AssumeRole&")));
}

/// A configured profile has precedence over the environment, which holds an access key here.
#[test]
fn a_profiles_program_is_run_again_before_its_credentials_end() {
    let read = Read::by("[identity.reader]\nprofile = \"vault\"\n");
    let program = read.world.path("issue.sh");
    let script = "n=$(($(cat issued 2>/dev/null || echo 0) + 1))\necho $n >issued\n\
         printf '{\"Version\":1,\"AccessKeyId\":\"ISSUED%s\",\"SecretAccessKey\":\"secret\",\"SessionToken\":\"session\",\
         \"Expiration\":\"%s\"}' $n \"$(date -u -d '+8 seconds' +%Y-%m-%dT%H:%M:%SZ)\"\n";
    std::fs::write(&program, script).unwrap();
    std::fs::create_dir(read.world.path(".aws")).unwrap();
    let profile = format!("[profile vault]\ncredential_process = sh {}\n", program.display());
    std::fs::write(read.world.path(".aws/config"), profile).unwrap();
    goes_on_with_new_credentials(&read, &read.world.run(&[]), || {});
}

/// The role and the keys that it is assumed with stand in the same files.
#[test]
fn a_profiles_role_is_assumed_anew_before_its_session_ends() {
    let read = Read::by("[identity.reader]\nprofile = \"reader\"\n");
    let source = Source::sts();
    std::fs::create_dir(read.world.path(".aws")).unwrap();
    let profiles = format!(
        "[profile reader]\nrole_arn = {ROLE}\nsource_profile = base\nexternal_id = agreed\n\
         [profile base]\naws_access_key_id = BASE\naws_secret_access_key = secret\n"
    );
    std::fs::write(read.world.path(".aws/config"), profiles).unwrap();
    let start = read.world.run(&[]).with_environment("AWS_ENDPOINT_URL_STS", &source.url());
    goes_on_with_new_credentials(&read, &start, || {});
    for request in source.asked() {
        let form = request.text();
        assert!(form.contains("Action=AssumeRole&") && form.contains("ExternalId=agreed"), "{form}");
        assert!(request.header("authorization").is_some_and(|signed| signed.contains("Credential=BASE/")));
    }
}

/// Whoever signed in (`aws sso login`) left a token; the portal gives credentials of the profile's role for it.
#[test]
fn a_profiles_single_sign_on_gives_credentials_as_long_as_its_token_lasts() {
    const TOKEN: &str = r#"{"startUrl":"https://example.awsapps.com/start","region":"us-east-1","accessToken":"signed-in","expiresAt":"2100-01-01T00:00:00Z"}"#;
    let read = Read::by("[identity.reader]\nprofile = \"analyst\"\n");
    let source = Source::portal();
    // `printf %s work | sha1sum`: the session's name.
    let token = read.world.path(".aws/sso/cache/e274eeff768c6396088ec6eb091f4bf4d47ab1e0.json");
    std::fs::create_dir_all(token.parent().unwrap()).unwrap();
    std::fs::write(token, TOKEN).unwrap();
    let profile = "[sso-session work]\nsso_region = us-east-1\nsso_start_url = https://example.awsapps.com/start\n\
                   [profile analyst]\nsso_session = work\nsso_account_id = 000000000000\nsso_role_name = audit-reader\n";
    std::fs::write(read.world.path(".aws/config"), profile).unwrap();
    let start = read.world.run(&[]).with_environment("AWS_ENDPOINT_URL_SSO", &source.url());
    goes_on_with_new_credentials(&read, &start, || {});
    let asked = source.asked();
    assert!(asked.iter().all(|request| request.header("x-amz-sso_bearer_token") == Some("signed-in")));
    assert!(asked.iter().all(|request| request.target.contains("role_name=audit-reader")), "{}", asked[0].target);
}

/// Nothing of a fault is kept: whoever mends a profile need not start the daemon again.
#[test]
fn a_profile_that_is_mended_is_used_without_a_restart() {
    let read = Read::by("[identity.reader]\nprofile = \"audit\"\n");
    read.bucket.put(&key(0), &object(&records(0..3)));
    let expected = ["no credentials", "the place could not be scanned", "a page of the listing is asked for again"];
    let daemon = read.world.run(&[]).expecting(&expected).spawn();
    let told = |part: &str| {
        let entries = daemon.log.entries();
        entries.iter().any(|entry| entry.message == "no credentials" && entry.line.contains(part))
    };
    eventually("the missing profile is told", SOON, || told("the profile `audit` is in none of"));
    std::fs::create_dir(read.world.path(".aws")).unwrap();
    let keys = "[audit]\naws_access_key_id = MENDED\naws_secret_access_key = secret\n";
    std::fs::write(read.world.path(".aws/credentials"), keys).unwrap();
    read.world.comes_to("out", 3);
    assert_eq!(read.access_keys(), ["MENDED".to_owned()].into());
    assert!(daemon.stop().success());
}
