//! What `check` finds on the machine where it runs: impossible paths, missing secrets and regions, and keys that match
//! no name the source writes.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory for a configuration, which `check` is run on.
struct Checked {
    directory: tempfile::TempDir,
}

impl Checked {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `check` on a feed with a file sink; `more` completes the feed and begins at the file's line 7. Returns the
    /// exit code, and the lines of standard error without the configuration's path.
    fn of(&self, state_dir: &Path, sink: &Path, more: &str, variables: &[(&str, &str)]) -> (i32, Vec<String>) {
        let path = self.path("a.toml");
        let text = format!(
            "state_dir = {state_dir:?}\n[sink.out]\ntype = \"file\"\npath = {sink:?}\n[feed.a]\nsinks = [\"out\"]\n{more}"
        );
        std::fs::write(&path, text).unwrap();
        let program = env!("CARGO_BIN_EXE_auditferry");
        // Root may write anywhere, as long as it has its capabilities. Another user might not reach the program.
        let mut command = if rustix::process::geteuid().is_root() {
            let mut without = Command::new("/usr/bin/setpriv");
            without.args(["--bounding-set=-dac_override,-dac_read_search", program]);
            without
        } else {
            Command::new(program)
        };
        command.args(["check", "--config", path.to_str().unwrap()]).env_clear().env("HOME", self.directory.path());
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap().replace(&format!("{}:", path.display()), "");
        (output.status.code().unwrap(), said.lines().map(str::to_owned).collect())
    }
}

const DIRECTORY_FEED: &str = "family = \"immuta\"\ndirectory = \"/in\"\n";

#[test]
fn check_finds_what_cannot_be_where_it_runs() {
    let checked = Checked::new();
    let (file, state, closed) = (checked.path("file"), checked.path("state"), checked.path("closed"));
    std::fs::write(&file, "").unwrap();
    for directory in [&state, &closed] {
        std::fs::create_dir(directory).unwrap();
    }
    std::fs::set_permissions(&state, Permissions::from_mode(0o1777)).unwrap();
    std::fs::set_permissions(&closed, Permissions::from_mode(0o555)).unwrap();
    let out = state.join("out");
    let of = |state: &Path, sink: &Path| checked.of(state, sink, DIRECTORY_FEED, &[]);
    let shown = |path: &Path| path.display().to_string();
    let state_is_open = format!(
        "warning: 1: state_dir: {0} has mode 0777, so that everybody on this machine may look into it: as its owner, chmod 0700 {0}",
        shown(&state)
    );
    assert_eq!(of(&state.join("new"), &out), (0, vec![]));
    assert_eq!(
        of(&file, &out),
        (
            78,
            vec![format!(
                "1: state_dir: {} is a file: expected a directory, or nothing that is there yet",
                shown(&file)
            )]
        )
    );
    assert_eq!(of(&file.join("below"), &out).1, of(&file, &out).1);
    let cannot = format!("{} cannot be written to by who runs `check`", shown(&closed));
    assert_eq!(of(&closed.join("state"), &out), (0, vec![format!("warning: 1: state_dir: {cannot}")]));
    assert_eq!(
        of(&state, &state),
        (78, vec![state_is_open, format!("4: sink.out.path: {} is a directory: expected a file", shown(&state))])
    );
    let new = state.join("new");
    assert_eq!(
        of(&new, &file.join("out")),
        (78, vec![format!("4: sink.out.path: {} is a file, and has nothing below it", shown(&file))])
    );
    assert_eq!(of(&new, &closed.join("out")), (0, vec![format!("warning: 4: sink.out.path: {cannot}")]));
    let absent = state.join("none");
    assert_eq!(
        of(&new, &absent.join("out")),
        (
            0,
            vec![format!(
                "warning: 4: sink.out.path: there is no directory {}: make it, as the daemon does not",
                shown(&absent)
            )]
        )
    );
}

#[test]
fn check_names_every_secret_that_is_not_there() {
    let checked = Checked::new();
    let (state, out) = (checked.path("state"), checked.path("out"));
    std::fs::set_permissions(checked.path(""), Permissions::from_mode(0o777)).unwrap();
    std::fs::write(checked.path("key"), "hush-hush").unwrap();
    let more = format!(
        "{DIRECTORY_FEED}redact = {{ hash = [\"a\"], key = \"file:{0}/none\" }}\n[sink.two]\ntype = \"http\"\nurl = \"https://x\"\n\
         auth = {{ type = \"bearer\", token = \"env:TOKEN\" }}\n[sink.three]\ntype = \"sumo\"\nurl = \"credential:sumo\"\n\
         [sink.four]\ntype = \"http\"\nurl = \"https://x\"\nauth = {{ type = \"bearer\", token = \"file:{0}/key\" }}\n\
         [[identity.i.assume_role]]\nrole_arn = \"arn:aws:iam::123456789012:role/a\"\nexternal_id = \"env:ID\"\n",
        checked.directory.path().display()
    );
    let (code, said) = checked.of(&state, &out, &more, &[("AUDITFERRY__SINK__TWO__HEADERS", "{\"x\": \"env:HOME\"}")]);
    let secrets: Vec<&String> = said.iter().filter(|line| !line.contains("is used by no")).collect();
    assert_eq!(
        (code, secrets),
        (
            0,
            vec![
                &format!(
                    "warning: 9: feed.a.redact.key: file:{}/none: there is no such file (where `check` runs)",
                    checked.directory.path().display()
                ),
                &"warning: 13: sink.two.auth.token: env:TOKEN: the environment has no such variable (where `check` runs)".to_owned(),
                &"warning: 16: sink.three.url: credential:sumo: systemd handed over no credentials ($CREDENTIALS_DIRECTORY is not set) (where `check` runs)".to_owned(),
                &"warning: 23: identity.i.assume_role.0.external_id: env:ID: the environment has no such variable (where `check` runs)".to_owned(),
            ]
        )
    );
}

#[test]
fn check_warns_where_no_region_is_known_and_of_names_that_nobody_writes() {
    let checked = Checked::new();
    let (state, out) = (checked.path("state"), checked.path("out"));
    std::fs::set_permissions(checked.path(""), Permissions::from_mode(0o777)).unwrap();
    let missing = "no region is known here: set it, or AWS_REGION for the daemon; on EC2 the instance knows its own";
    let feed = "family = \"lakefs\"\nbucket = \"logs\"\n";
    let of = |more: &str, variables: &[(&str, &str)]| checked.of(&state, &out, more, variables);
    assert_eq!(of(feed, &[]), (0, vec![format!("warning: 5: feed.a.region: {missing}")]));
    assert_eq!(of(feed, &[("AWS_REGION", "eu-west-1")]), (0, vec![]));
    std::fs::create_dir(checked.path(".aws")).unwrap();
    std::fs::write(checked.path(".aws/config"), "[default]\nregion = eu-west-1\n").unwrap();
    assert_eq!(of(feed, &[]), (0, vec![]));
    let keys = format!("{feed}keys = [\"**/*.json\"]\nprefixes = [\"logs/*\"]\n");
    assert_eq!(
        of(&keys, &[]),
        (
            0,
            vec![
                "warning: 9: feed.a.keys.0: `**/*.json` matches no name that the product of `lakefs` gives, such as year=26/month=01/day=15/hour=08/part-0-snappy.parquet".to_owned(),
                "warning: 10: feed.a.prefixes.0: `logs/*` stands for itself: a prefix is no glob and no template; `keys` takes globs".to_owned(),
            ]
        )
    );
    let apart = format!("{feed}keys = [\"audit/*.parquet\"]\nprefixes = [\"logs/\"]\n");
    assert_eq!(
        of(&apart, &[]),
        (78, vec!["9: feed.a.keys.0: `audit/*.parquet` matches no key below the feed's `prefixes`".to_owned()])
    );
}

#[test]
fn a_state_directory_that_others_may_look_into_is_warned_of() {
    let checked = Checked::new();
    let (state, out) = (checked.path("state"), checked.path("out"));
    std::fs::set_permissions(checked.path(""), Permissions::from_mode(0o777)).unwrap();
    std::fs::create_dir(&state).unwrap();
    for (mode, is_told) in [(0o700, false), (0o750, true), (0o755, true)] {
        std::fs::set_permissions(&state, Permissions::from_mode(mode)).unwrap();
        let (code, said) = checked.of(&state, &out, DIRECTORY_FEED, &[]);
        assert_eq!(code, 0, "{said:?}");
        let told = format!("warning: 1: state_dir: {} has mode {mode:04o}", state.display());
        assert_eq!(said.iter().any(|line| line.starts_with(&told)), is_told, "{said:?}");
    }
}
