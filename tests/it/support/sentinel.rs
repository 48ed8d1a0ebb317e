//! A small Azure: Entra, which issues tokens to the application that it knows, and the Logs Ingestion API, which takes
//! rows for the streams that a shipped template declares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::default_provider;
use serde_json::{Value, json};

use super::receiver::{Answer, Receiver, Request, fixture};

pub const TENANT: &str = "contoso.onmicrosoft.com";
pub const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
pub const SECRET: &str = "hush-hush";
pub const DCR: &str = "dcr-00112233445566778899aabbccddeeff";
/// How large a call may be, compressed and not.
const CALL_BYTES_MAX: usize = 1_048_576;
/// How large a field may be.
const FIELD_BYTES_MAX: usize = 65_536;
const SCOPE: &str = "https%3A%2F%2Fmonitor.azure.com%2F.default";

/// Returns an answer to the whole request in place of taking it, or `None`.
type Whole = Box<dyn FnMut(&Request, &[Value]) -> Option<Answer> + Send>;

pub struct Azure {
    pub entra: Receiver,
    pub monitor: Receiver,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The streams, and the type of each of their columns.
    streams: BTreeMap<String, BTreeMap<String, String>>,
    secret: String,
    tokens: BTreeSet<String>,
    /// Whether the application has the role that may send.
    is_publisher: bool,
    whole: Option<Whole>,
    rows: Vec<Value>,
    /// Columns that no stream declares, which are dropped.
    dropped: BTreeSet<String>,
    /// Rows are taken, but requests get no answer.
    is_mute: bool,
}

impl Azure {
    /// An Azure with this template's data collection rule.
    pub fn with(template: &str) -> Self {
        Self::of(template, |script| Receiver::with_script(script))
    }

    pub fn over_tls(template: &str) -> Self {
        Self::of(template, |script| Receiver::over_tls(script))
    }

    fn of(template: &str, receiver: impl Fn(Box<dyn FnMut(&Request) -> Answer + Send>) -> Receiver) -> Self {
        let state = State {
            streams: streams(template),
            secret: SECRET.to_owned(),
            tokens: BTreeSet::new(),
            is_publisher: true,
            whole: None,
            rows: Vec::new(),
            dropped: BTreeSet::new(),
            is_mute: false,
        };
        let state = Arc::new(Mutex::new(state));
        let (giving, taking) = (Arc::clone(&state), Arc::clone(&state));
        let entra = receiver(Box::new(move |request| giving.lock().unwrap().give(request)));
        let monitor = receiver(Box::new(move |request| taking.lock().unwrap().take(request)));
        Self { entra, monitor, state }
    }

    /// The keys of a sink that sends to the stream, with the secret in the variable `SECRET`.
    pub fn keys(&self, kind: &str, stream: &str) -> String {
        format!(
            "type = {kind:?}\nurl = \"{}\"\ndcr_immutable_id = \"{DCR}\"\nstream = \"{stream}\"\n\
             auth = {{ type = \"entra\", tenant = \"{TENANT}\", client_id = \"{CLIENT}\", client_secret = \"env:SECRET\", \
             authority = \"{}\" }}\n",
            self.monitor.url(),
            self.entra.url()
        )
    }

    /// From now on, `whole` may answer requests.
    pub fn answers(&self, whole: impl FnMut(&Request, &[Value]) -> Option<Answer> + Send + 'static) {
        self.state.lock().unwrap().whole = Some(Box::new(whole));
    }

    pub fn is_mute(&self, is_mute: bool) {
        self.state.lock().unwrap().is_mute = is_mute;
    }

    pub fn has_role(&self, is_publisher: bool) {
        self.state.lock().unwrap().is_publisher = is_publisher;
    }

    /// From now on, Entra accepts only this secret; the tokens that it issued are revoked.
    pub fn knows(&self, secret: &str) {
        let mut state = self.state.lock().unwrap();
        secret.clone_into(&mut state.secret);
        state.tokens.clear();
    }

    pub fn rows(&self) -> Vec<Value> {
        self.state.lock().unwrap().rows.clone()
    }

    pub fn dropped(&self) -> BTreeSet<String> {
        self.state.lock().unwrap().dropped.clone()
    }
}

/// The streams that a template's rule declares, with the type of each column.
fn streams(template: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let template: Value = serde_json::from_str(template).unwrap();
    let is_rule = |resource: &&Value| resource["type"] == "Microsoft.Insights/dataCollectionRules";
    let rule = template["resources"].as_array().unwrap().iter().find(is_rule).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let columns = |stream: &Value| -> BTreeMap<String, String> {
        let columns = stream["columns"].as_array().unwrap();
        columns.iter().map(|column| (text(&column["name"]), text(&column["type"]))).collect()
    };
    let declared = rule["properties"]["streamDeclarations"].as_object().unwrap();
    declared.iter().map(|(name, stream)| (name.clone(), columns(stream))).collect()
}

/// Whether the assertion is signed with the key of the application's certificate (PS256), and names the certificate and
/// the application.
fn is_signed(jwt: &str) -> bool {
    let parts: Vec<&str> = jwt.split('.').collect();
    let [header, claims, signature] = parts[..] else { return false };
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let [header_read, claims_read] =
        [header, claims].map(|part| serde_json::from_slice::<Value>(&bytes(part)).unwrap());
    let thumbprint = std::fs::read_to_string(fixture("entra.thumbprint")).unwrap();
    let is_named =
        header_read["x5t#S256"] == thumbprint.trim() && [&claims_read["iss"], &claims_read["sub"]] == [CLIENT; 2];
    let known = default_provider().signature_verification_algorithms;
    let (_, verifiers) = known.mapping.iter().find(|(scheme, _)| *scheme == SignatureScheme::RSA_PSS_SHA256).unwrap();
    let (public, message) = (std::fs::read(fixture("entra.public.der")).unwrap(), format!("{header}.{claims}"));
    is_named && verifiers[0].verify_signature(&public, message.as_bytes(), &bytes(signature)).is_ok()
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::says(status, &json!({"error": {"code": code, "message": message}}).to_string())
}

impl State {
    /// Answers like the token endpoint of the Microsoft identity platform.
    fn give(&mut self, request: &Request) -> Answer {
        if request.target != format!("/{TENANT}/oauth2/v2.0/token") {
            return Answer::says(404, "");
        }
        let form = request.text();
        let pairs: BTreeMap<&str, &str> = form.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let is = |name: &str, value: &str| pairs.get(name) == Some(&value);
        if !is("grant_type", "client_credentials") || !is("scope", SCOPE) {
            return Answer::says(400, r#"{"error":"invalid_request"}"#);
        }
        let shows_certificate = pairs.get("client_assertion").is_some_and(|jwt| is_signed(jwt));
        if !is("client_id", CLIENT) || !is("client_secret", &self.secret) && !shows_certificate {
            let said = pairs.get("client_secret").copied().unwrap_or_default();
            let told = format!("AADSTS7000215: Invalid client secret provided: {said}.");
            return Answer::says(401, &json!({"error": "invalid_client", "error_description": told}).to_string());
        }
        let token = format!("token-{}-{}", self.secret, self.tokens.len());
        self.tokens.insert(token.clone());
        Answer::says(200, &json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token}).to_string())
    }

    /// Answers like the Logs Ingestion API. Codes and messages are those that issues of its clients quote.
    fn take(&mut self, request: &Request) -> Answer {
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if token.is_none_or(|token| !self.tokens.contains(token)) {
            return error(401, "AuthenticationFailed", "The authentication token is missing or invalid.");
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let parts: Vec<&str> = path.split('/').collect();
        let (["", "dataCollectionRules", dcr, "streams", stream], "api-version=2023-01-01") = (&parts[..], query)
        else {
            return Answer::says(404, "");
        };
        if *dcr != DCR {
            let message = format!("Data collection rule with immutable Id '{dcr}' not found.");
            return error(404, "NotFound", &message);
        }
        if !self.is_publisher {
            let message = format!(
                "The authentication token provided does not have access to ingest data for the data collection rule with immutable Id '{dcr}'."
            );
            return error(403, "OperationFailed", &message);
        }
        let longest = request.body.len().max(request.text().len());
        if longest > CALL_BYTES_MAX {
            let message = format!(
                "Maximum allowed content length: 1048576 bytes (1 MB). Provided content length: {longest} bytes."
            );
            return error(413, "ContentLengthLimitExceeded", &message);
        }
        let Some(columns) = self.streams.get(*stream).cloned() else {
            return error(400, "InvalidStream", "The stream was not configured in the data collection rule.");
        };
        let Ok(rows) = serde_json::from_str::<Vec<Value>>(&request.text()) else {
            return error(400, "InvalidRequest", "The body is no JSON array.");
        };
        if let Some(answer) = self.whole.as_mut().and_then(|whole| whole(request, &rows)) {
            return answer;
        }
        for row in &rows {
            if let Err(problem) = self.judge(row, &columns) {
                return error(400, "InvalidRecord", &problem);
            }
        }
        self.rows.extend(rows);
        if self.is_mute { Answer::Silence } else { Answer::status(204) }
    }

    /// Whether the row fits the stream's columns. Members without a column are dropped.
    fn judge(&mut self, row: &Value, columns: &BTreeMap<String, String>) -> Result<(), String> {
        let members = row.as_object().ok_or("a row is no object")?;
        for (name, value) in members {
            let Some(column) = columns.get(name) else {
                self.dropped.insert(name.clone());
                continue;
            };
            let fits = match &**column {
                "string" => value.is_string(),
                "datetime" => value.as_str().is_some_and(|text| text.ends_with('Z') && text.len() == 24),
                "int" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
                "long" => value.is_i64(),
                "boolean" => value.is_boolean(),
                "dynamic" => true,
                _ => false,
            };
            let bytes = value.as_str().map_or_else(|| value.to_string().len(), str::len);
            if !fits || bytes > FIELD_BYTES_MAX {
                return Err(format!("the column {name} is a {column}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::http::request;

    const TEMPLATE: &str = r#"{"resources": [{"type": "Microsoft.Insights/dataCollectionRules", "properties":
        {"streamDeclarations": {"Custom-A": {"columns": [{"name": "Time", "type": "datetime"}, {"name": "Computer", "type": "string"}]}}}}]}"#;

    /// The examples of "Logs Ingestion API in Azure Monitor", and the answers that this page names for wrong requests.
    #[test]
    fn a_token_of_entra_opens_the_stream_and_nothing_else_does() {
        let azure = Azure::with(TEMPLATE);
        let form = |secret: &str| {
            format!("client_id={CLIENT}&scope={SCOPE}&client_secret={secret}&grant_type=client_credentials")
        };
        let ask = |secret: &str| {
            let target = format!("/{TENANT}/oauth2/v2.0/token");
            request(azure.entra.address(), "POST", &target, &[], form(secret).as_bytes()).unwrap()
        };
        assert_eq!(ask("wrong").status, 401);
        let given: Value = serde_json::from_str(&ask(SECRET).text()).unwrap();
        let token = format!("Bearer {}", given["access_token"].as_str().unwrap());
        let send = |token: &str, dcr: &str, stream: &str, body: &str| {
            let target = format!("/dataCollectionRules/{dcr}/streams/{stream}?api-version=2023-01-01");
            let headers = [("Authorization", token), ("Content-Type", "application/json")];
            request(azure.monitor.address(), "POST", &target, &headers, body.as_bytes()).unwrap().status
        };
        let row = r#"[{"Time":"2021-11-08T20:30:00.000Z","Computer":"Computer1","AdditionalContext":{"a":1}}]"#;
        for (token, dcr, stream, body, status) in [
            (&*token, DCR, "Custom-A", row, 204),
            ("Bearer none", DCR, "Custom-A", row, 401),
            (&token, "dcr-other", "Custom-A", row, 404),
            (&token, DCR, "Custom-B", row, 400),
            (&token, DCR, "Custom-A", "{}", 400),
            (&token, DCR, "Custom-A", r#"[{"Computer":7}]"#, 400),
            (&token, DCR, "Custom-A", &" ".repeat(CALL_BYTES_MAX + 1), 413),
        ] {
            assert_eq!(send(token, dcr, stream, body), status, "{dcr} {stream}");
        }
        assert_eq!((azure.rows().len(), azure.dropped()), (1, ["AdditionalContext".to_owned()].into()));
        azure.has_role(false);
        assert_eq!(send(&token, DCR, "Custom-A", row), 403);
    }
}
