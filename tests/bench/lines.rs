//! Audit log lines of about 1 KB, made up but shaped as the documentation says, the same in every run.

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from_digit(self.roll(16) as u32, 16).unwrap()).collect()
    }
}

/// Databricks records, one a line.
pub(crate) fn databricks(records: usize) -> Vec<u8> {
    let mut dice = Dice(1);
    let mut content = Vec::with_capacity(records * 1100);
    for number in 0..records {
        let (service, action, params) = databricks_request(&mut dice);
        let line = format!(
            r#"{{"version":"2.0","auditLevel":"WORKSPACE_LEVEL","timestamp":{time},"orgId":"1234567890123456","shardName":"production-eu-west-1","accountId":"{account}","sourceIPAddress":"10.{a}.{b}.{c}","userAgent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36","sessionId":"ephemeral-{session}","userIdentity":{{"email":"user{user}@example.com","subjectName":null}},"serviceName":"{service}","actionName":"{action}","requestId":"ServiceMain-{request}{number}","requestParams":{{{params}}},"response":{{"statusCode":{status},"errorMessage":{error},"result":"{{\"status\":\"done\",\"elapsed_ms\":{elapsed}}}"}},"eventId":"{event}","workspaceId":"1234567890123456"}}"#,
            time = 1_705_300_000_000u64 + number as u64 * 37,
            account = "23e22ba4-87b9-4cc2-9770-d10b894b1234",
            a = dice.roll(256),
            b = dice.roll(256),
            c = dice.roll(256),
            session = dice.hex(32),
            user = dice.roll(500),
            request = dice.hex(16),
            status = if dice.roll(10) == 0 { 403 } else { 200 },
            error = if dice.roll(10) == 0 { r#""PERMISSION_DENIED: not allowed here""# } else { "null" },
            elapsed = dice.roll(10_000),
            event = dice.hex(32),
        );
        content.extend_from_slice(line.as_bytes());
        content.push(b'\n');
    }
    content
}

fn databricks_request(dice: &mut Dice) -> (&'static str, &'static str, String) {
    let cluster = format!("0115-{:06}-{}", dice.roll(1_000_000), dice.hex(8));
    match dice.roll(6) {
        0 => (
            "accounts",
            "tokenLogin",
            format!(r#""user":"user{}@example.com","tokenId":"{}""#, dice.roll(500), dice.hex(64)),
        ),
        1 => (
            "clusters",
            "create",
            format!(
                r#""cluster_name":"nightly \"{}\"","num_workers":"8","spark_version":"13.3.x-scala2.12","node_type_id":"i3.xlarge","driver_node_type_id":"i3.xlarge","autotermination_minutes":"30","cluster_creator":"JOB_LAUNCHER","organization_id":"1234567890123456","user_id":"{}","spark_conf":"{{\"spark.databricks.delta.preview.enabled\":\"true\"}}","custom_tags":"{{\"team\":\"audit\"}}""#,
                dice.hex(8),
                dice.roll(100_000),
            ),
        ),
        2 => (
            "jobs",
            "runSucceeded",
            format!(
                r#""jobClusterType":"new","jobTriggerType":"cron","jobId":"{}","jobTaskType":"notebook","runId":"{}","jobTerminalState":"Succeeded","idInJob":"{}","orgId":"1234567890123456""#,
                dice.roll(100_000),
                dice.roll(1_000_000),
                dice.roll(1000),
            ),
        ),
        3 => (
            "notebook",
            "attachNotebook",
            format!(
                r#""path":"/Users/user{}@example.com/projects/quarterly/revenue-{}","clusterId":"{cluster}","notebookId":"{}""#,
                dice.roll(500),
                dice.hex(12),
                dice.roll(10_000_000),
            ),
        ),
        4 => (
            "unityCatalog",
            "getTable",
            format!(
                r#""full_name_arg":"main.finance.ledger_{}","metastore_id":"{}","workspace_id":"1234567890123456","include_delta_metadata":"true","is_permissions_enforced":"true""#,
                dice.hex(6),
                dice.hex(36),
            ),
        ),
        _ => (
            "databrickssql",
            "executeFastQuery",
            format!(
                r#""dataSourceId":"{}","queryText":"SELECT region, sum(amount) FROM main.finance.ledger WHERE day = '2024-01-{:02}' GROUP BY region ORDER BY 2 DESC LIMIT 100","parameters":{{"limit":100,"day":["2024-01-15"]}}"#,
                dice.hex(36),
                dice.roll(28) + 1,
            ),
        ),
    }
}
