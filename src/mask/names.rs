//! Decides by the words of a name whether its value is a secret, however the words are joined.

/// More bytes than any name has, including a host after it. Of a longer name only the end is read.
pub(super) const NAME_MAX: usize = 128;

/// More letters than a name has, without separators and host.
const LETTERS_MAX: usize = 64;

/// What a name says about its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The value is a secret.
    Secret,
    /// The value is a header's, up to the end of its line: a cookie or an authorization.
    Header,
    /// The value may be an authorization code (RFC 6749, section 4.1.2), a signature, or any word. Its letters decide.
    Doubtful,
    /// The value is a secret as a parameter of a query, and elsewhere an ordinary id.
    Parameter,
    /// If the value is a literal of SQL, it is a secret.
    Literal,
    /// `IDENTIFIED`, followed by a password or by the name of an authentication method.
    Identified,
    /// `Bearer` or `Basic`, followed by the secret of a header.
    Scheme,
    /// `VALUES`, followed by the rows of an insertion.
    Rows,
    /// `value`, which may be the value of a name in the member before.
    Value,
}

/// Endings of names of secrets, without separators, by their last letter.
pub(super) const ENDINGS: &[(u8, &[&str])] = &[
    (b'd', &["password", "passwd", "pwd"]),
    (b't', &["secret", "commandtext", "jwt", "samlart"]),
    (
        b'y',
        &[
            "secretkey",
            "accesskey",
            "privatekey",
            "apikey",
            "accountkey",
            "storagekey",
            "encryptionkey",
            "encryptkey",
            "decryptionkey",
            "cipherkey",
            "cryptokey",
            "signingkey",
            "signaturekey",
            "sharedkey",
            "masterkey",
            "authkey",
            "authorizationkey",
            "subscriptionkey",
            "functionkey",
            "functionskey",
            "clientkey",
            "sessionkey",
            "hmackey",
            "symmetrickey",
            "licensekey",
            "appkey",
            "applicationkey",
            "consumerkey",
            "adminkey",
            "saskey",
            "securitykey",
            "deploykey",
            "integrationkey",
            "ingestionkey",
            "writekey",
            "serverkey",
            "jwtkey",
            "recoverykey",
            "unsealkey",
            "sslkey",
            "tlskey",
        ],
    ),
    (
        b'e',
        &[
            "passphrase",
            "passcode",
            "tokenvalue",
            "secretvalue",
            "stringvalue",
            "bytesvalue",
            "samlresponse",
            "sharingcode",
            "activationcode",
            "authcode",
            "authorizationcode",
            "oauthcode",
            "verificationcode",
            "mfacode",
            "otpcode",
            "resetcode",
            "invitecode",
            "invitationcode",
            "securitycode",
            "devicecode",
            "accesscode",
            "recoverycode",
            "confirmationcode",
            "backupcode",
            "factorcode",
            "logincode",
            "smscode",
            "onetimecode",
            "pairingcode",
            "registrationcode",
        ],
    ),
    (b's', &["credentials", "passwords", "secrets", "accesstokens", "refreshtokens", "apikeys", "dbpass", "userpass"]),
    (
        b'l',
        &[
            "credential",
            "activationurl",
            "inviteurl",
            "invitationurl",
            "reseturl",
            "magicurl",
            "sharingurl",
            "webhookurl",
        ],
    ),
    (b'n', &["token", "assertion"]),
    (b'g', &["connectionstring"]),
    (b'r', &["codeverifier", "oauthverifier"]),
    (
        b'k',
        &[
            "webhook",
            "activationlink",
            "sharinglink",
            "sharelink",
            "invitelink",
            "invitationlink",
            "resetlink",
            "magiclink",
            "recoverylink",
            "verificationlink",
            "confirmationlink",
            "loginlink",
            "signinlink",
            "signuplink",
            "registrationlink",
        ],
    ),
    (b'f', &["csrf", "xsrf"]),
];

/// Words that mark a secret only as a separate word at the end of a name.
pub(super) const WORDS: &[&str] = &["pass", "pat", "pem", "sas", "otp", "totp", "pw", "psk", "pfx", "keytab", "saml"];

/// Endings that may follow a secret's name: how the secret is written, or which of several it is.
pub(super) const MANNERS: &[(u8, &[&str])] = &[
    (b'e', &["value", "base"]),
    (b'g', &["string"]),
    (b't', &["text", "plaintext", "repeat"]),
    (b'h', &["hash"]),
    (b'n', &["plain", "confirmation", "again"]),
    (b'w', &["raw", "new"]),
    (b'd', &["encoded", "encrypted", "old"]),
    (b'a', &["data"]),
    (b'm', &["confirm"]),
];

/// Tokens that are no secrets: they mark a position in a list, or give no access.
const OPEN_TOKENS: &[&str] = &[
    "idempotencytoken",
    "pagetoken",
    "nexttoken",
    "continuationtoken",
    "pagingtoken",
    "synctoken",
    "resumetoken",
    "markertoken",
    "canceltoken",
    "cancellationtoken",
    "requesttoken",
    "sanitizedtoken",
    "maskedtoken",
];

/// Ordinary words that end like a word in [`WORDS`].
const OTHER_WORDS: &[&str] = &["bypass", "compass"];

/// The end of the hosts of Azure's storage accounts.
const AZURE_HOST: &[u8] = b".core.windows.net";

/// Names that say something about their value only as a whole, and endings that [`kind`] handles apart.
pub(super) const WHOLE: &[&str] = &[
    "code",
    "sig",
    "signature",
    "hash",
    "identified",
    "bearer",
    "basic",
    "values",
    "value",
    "val",
    "default",
    "content",
    "sid",
    "ticket",
    "cookie",
    "cookies",
    "authorization",
    "sessionid",
    "sessid",
    "windows.net",
];

/// What a name says about its value; `None` if nothing. `name` is the last word before the value, `phrase` the same
/// word with those before it.
pub(super) fn kind(name: &[u8], phrase: &[u8]) -> Option<Kind> {
    let Squashed { letters, length } = Squashed::of(name);
    let squashed = &letters[..length];
    let last = squashed.last()?;
    match squashed {
        b"code" | b"sig" | b"signature" => return Some(Kind::Doubtful),
        b"hash" => return Some(Kind::Literal),
        b"identified" => return Some(Kind::Identified),
        b"bearer" | b"basic" => return Some(Kind::Scheme),
        b"values" => return Some(Kind::Rows),
        b"value" | b"val" | b"default" | b"content" => return Some(Kind::Value),
        b"sid" | b"ticket" => return Some(Kind::Parameter),
        _ => {}
    }
    let ends_with = |ending: &str| squashed.ends_with(ending.as_bytes());
    match last {
        b'e' | b's' if ends_with("cookie") || ends_with("cookies") => return Some(Kind::Header),
        b'n' if ends_with("authorization") => return Some(Kind::Header),
        b'd' if ends_with("sessionid") || ends_with("sessid") => return Some(Kind::Parameter),
        b'e' if ends_with("amzsignature") || ends_with("googsignature") => return Some(Kind::Secret),
        _ => {}
    }
    let is_phrase = name.len() < phrase.len() && is_of_words(squashed);
    let is_secret = is_secret(name, squashed)
        || is_phrase && {
            let Squashed { letters, length } = Squashed::of(phrase);
            ends(&letters[..length])
        };
    is_secret.then_some(Kind::Secret)
}

/// Whether the name may mark a secret only together with the words before it.
pub(super) fn needs_words(name: &[u8]) -> bool {
    let may = name.last().is_some_and(|last| matches!(last.to_ascii_lowercase(), b'y' | b'e' | b'k' | b'l' | b't'));
    may && {
        let Squashed { letters, length } = Squashed::of(name);
        is_of_words(&letters[..length])
    }
}

fn is_of_words(squashed: &[u8]) -> bool {
    matches!(squashed, b"key" | b"code" | b"link" | b"url" | b"text")
}

fn is_secret(name: &[u8], squashed: &[u8]) -> bool {
    let digits = squashed.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let mut left = &squashed[..squashed.len() - digits];
    if ends(left) {
        return true;
    }
    if is_secret_word(name) {
        return !OTHER_WORDS.iter().any(|word| left.ends_with(word.as_bytes()));
    }
    // A setting for one container, whose name is within the setting's name.
    if name.ends_with(AZURE_HOST) && memchr::memmem::find(squashed, b"fsazuresas").is_some() {
        return !left.ends_with(b"type");
    }
    // `password_value` or `password_hash`, for example.
    for _ in 0..2 {
        let Some(manner) = manner(left) else { return false };
        left = &left[..left.len() - manner];
        if ends(left) {
            return true;
        }
    }
    false
}

/// Length in bytes of an ending in [`MANNERS`].
fn manner(squashed: &[u8]) -> Option<usize> {
    let last = squashed.last()?;
    let (_, manners) = MANNERS.iter().find(|(letter, _)| letter == last)?;
    manners.iter().find(|manner| squashed.ends_with(manner.as_bytes())).map(|manner| manner.len())
}

fn ends(squashed: &[u8]) -> bool {
    let Some(last) = squashed.last() else { return false };
    let Some((_, endings)) = ENDINGS.iter().find(|(letter, _)| letter == last) else { return false };
    // Many endings have the same last letters. The fifth letter from the end distinguishes most of them.
    let fifth = squashed.len().checked_sub(5).map(|at| squashed[at]);
    let may_end = |ending: &&&str| ending.len() < 5 || fifth == Some(ending.as_bytes()[ending.len() - 5]);
    endings.iter().filter(may_end).any(|ending| squashed.ends_with(ending.as_bytes()))
        && !(squashed.ends_with(b"token") && OPEN_TOKENS.iter().any(|open| squashed.ends_with(open.as_bytes())))
}

/// Whether the last word of a name is in [`WORDS`]. A word begins after a byte that is no letter, or with an upper case
/// letter after a lower case one.
fn is_secret_word(name: &[u8]) -> bool {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let name = &name[..name.len() - digits];
    let Some(last) = name.last().map(u8::to_ascii_lowercase) else { return false };
    WORDS.iter().filter(|word| word.as_bytes().last() == Some(&last)).any(|word| {
        let Some(from) = name.len().checked_sub(word.len()) else { return false };
        name[from..].eq_ignore_ascii_case(word.as_bytes())
            && match name[..from].last() {
                None => true,
                Some(before) if before.is_ascii_lowercase() => name[from].is_ascii_uppercase(),
                Some(before) => !before.is_ascii_alphabetic(),
            }
    })
}

/// A name in lower case, without separators.
struct Squashed {
    letters: [u8; LETTERS_MAX],
    length: usize,
}

impl Squashed {
    fn of(name: &[u8]) -> Self {
        let name = without_host(name);
        let mut squashed = Self { letters: [0; LETTERS_MAX], length: 0 };
        for byte in &name[name.len().saturating_sub(LETTERS_MAX)..] {
            if !matches!(byte, b'_' | b'-' | b'.' | b' ') {
                squashed.letters[squashed.length] = byte.to_ascii_lowercase();
                squashed.length += 1;
            }
        }
        squashed
    }
}

/// Removes the account's host from a name of a Hadoop setting for one Azure storage account.
fn without_host(name: &[u8]) -> &[u8] {
    let Some(account) = name.strip_suffix(AZURE_HOST) else { return name };
    // The account's name, and `dfs` or `blob`, belong to the host, too.
    account.rsplitn(3, |byte| *byte == b'.').nth(2).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_secret_s_by_its_last_words() {
        for name in [
            "password",
            "newPassword",
            "string_value",
            "bytes_value",
            "token",
            "Token",
            "token_value",
            "access-token",
            "clientSecret",
            "clientSecretValue",
            "fs.azure.account.oauth2.client.secret",
            "fs.azure.account.oauth2.client.secret.lake.dfs.core.windows.net",
            "spark.hadoop.fs.azure.account.key.lake.blob.core.windows.net",
            "fs.azure.sas.cont.lake.blob.core.windows.net",
            "fs.azure.sas.fixed.token.lake.dfs.core.windows.net",
            "javax.jdo.option.ConnectionPassword",
            "privateKey",
            "commandText",
            "apiKey",
            "x-api-key",
            "APIKEY",
            "passphrase",
            "credentials",
            "access_key",
            "account_key",
            "DB_PASS",
            "userPass",
            "GITHUB_PAT",
            "userPat",
            "certificate_pem",
            "sharing_code",
            "activation_url",
            "reset_link",
            "SAMLResponse",
            "client_assertion",
            "code_verifier",
            "encryption_key",
            "password2",
            "PASSWORD_HASH",
            "passwordConfirmation",
            "SLACK_WEBHOOK",
            "db_pw",
            "personal_access_token",
            "X-Amz-Credential",
            "X-Amz-Signature",
            "sas_token",
        ] {
            assert_eq!(kind(name.as_bytes(), name.as_bytes()), Some(Kind::Secret), "{name}");
        }
        for name in [
            "",
            "d",
            "userId",
            "tokenId",
            "tokenExpirationTime",
            "idempotency_token",
            "wasPasswordChanged",
            "path",
            "key",
            "accessKeyId",
            "AWSAccessKeyId",
            "apiKeyName",
            "credential_name",
            "fs.azure.account.auth.type.lake.dfs.core.windows.net",
            "lake.dfs.core.windows.net",
            ".core.windows.net",
            "bypass",
            "encompass",
            "status_code",
            "sanitized_token",
            "next_page_token",
            "public_key",
            "pattern",
            "password_policy",
            "client_assertion_type",
            "url",
        ] {
            assert_eq!(kind(name.as_bytes(), name.as_bytes()), None, "{name}");
        }
        for (name, expected) in [
            ("code", Kind::Doubtful),
            ("Set-Cookie", Kind::Header),
            ("Proxy-Authorization", Kind::Header),
            ("jsessionid", Kind::Parameter),
            ("ydb_session_id", Kind::Parameter),
            ("Bearer", Kind::Scheme),
            ("IDENTIFIED", Kind::Identified),
            ("VALUES", Kind::Rows),
        ] {
            assert_eq!(kind(name.as_bytes(), name.as_bytes()), Some(expected), "{name}");
        }
    }
}
