//! Invented audit log lines in the documented forms, the same in every run.

/// A random generator with a fixed seed.
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

/// Immuta's audit records, one a line, as its web service logs them.
pub(crate) fn immuta(records: usize) -> Vec<u8> {
    let mut dice = Dice(2);
    let mut content = Vec::with_capacity(records * 1100);
    for number in 0..records {
        let time = 1_628_524_947_022u64 + number as u64 * 41;
        let user = dice.roll(500);
        let (kind, particulars) = match dice.roll(3) {
            0 => (
                "sqlQuery",
                format!(
                    r#""dataSourceTableName":"tpc_web_sales_{0}","query":"select \"region\", sum(\"amount\") from \"public\".\"tpc_web_sales_{0}\" where \"day\" = '2021-08-{1:02}' group by \"region\" order by 2 desc limit {2}","purposeIds":[{3},{4}],"record":{{"sqlQuery":"select region, sum(amount) from tpc_web_sales_{0} where day = '2021-08-{1:02}' group by region","parameters":["2021-08-{1:02}"],"duration":{2},"rows":{5}}}"#,
                    dice.roll(40),
                    dice.roll(28) + 1,
                    dice.roll(900),
                    dice.roll(20),
                    dice.roll(20) + 20,
                    dice.roll(1_000_000),
                ),
            ),
            1 => (
                "dataSourceSubscription",
                format!(
                    r#""purposeIds":null,"record":{{"dataSourceSubscriptionState":"owner","accessedId":{},"accessedIdType":"group","reason":"quarterly report {}"}}"#,
                    dice.roll(1_000_000),
                    dice.hex(24),
                ),
            ),
            _ => (
                "blobFetch",
                format!(
                    r#""dataAccess":{{"accessType":"blob","blobId":"sales/2021/08/{}.csv","visibility":{{"department":["finance","audit"]}}}},"record":{{"blobSize":{}}}"#,
                    dice.hex(32),
                    dice.roll(1 << 32),
                ),
            ),
        };
        let line = format!(
            r#"{{"level":"audit","timestamp":"2021-08-09T16:02:27.{milli:03}Z","message":"Audit - {kind}","id":"{id}","dateTime":{time},"month":1459,"component":"dataSource","instanceId":"i-{instance}","profileId":{user},"userId":"user{user}@example.com","sessionId":"{session}","sqlUser":null,"dataSourceId":{source},"dataSourceName":"Tpc Web Sales {source}","projectId":{project},"projectName":"Quarterly Revenue","success":{success},"failureReason":null,"recordType":"{kind}",{particulars},"extra":{{}},"createdAt":"2021-08-09T16:02:27.{milli:03}Z","updatedAt":"2021-08-09T16:02:27.{milli:03}Z"}}"#,
            milli = number % 1000,
            id = format_args!("{}-{}-4c46-974f-{}", dice.hex(8), dice.hex(4), dice.hex(12)),
            instance = dice.roll(4),
            session = dice.hex(32),
            source = dice.roll(40),
            project = dice.roll(30),
            success = dice.roll(10) != 0,
        );
        content.extend_from_slice(line.as_bytes());
        content.push(b'\n');
    }
    content
}

/// The fields of one of YDB's newer audit records, in order.
fn ydb_fields(dice: &mut Dice) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("component", "grpc-proxy".to_owned()),
        ("tx_id", format!("{}", 281_474_976_000_000 + dice.roll(1_000_000))),
        ("remote_address", format!("ipv6:[2001:db8::{}]:{}", dice.hex(4), 1024 + dice.roll(60_000))),
        ("subject", format!("user{}@builtin", dice.roll(500))),
        ("sanitized_token", format!("{}.**", dice.hex(8))),
        ("database", "/my_dir/db1".to_owned()),
    ];
    if dice.roll(2) == 0 {
        fields.extend([
            ("operation", "ExecuteQueryRequest".to_owned()),
            (
                "query_text",
                format!(
                    "SELECT region, SUM(amount) FROM `ledger_{}` WHERE day = Date('2024-01-{:02}') GROUP BY region LIMIT 100",
                    dice.hex(6),
                    dice.roll(28) + 1
                ),
            ),
            ("status", "SUCCESS".to_owned()),
            ("detailed_status", "StatusSuccess".to_owned()),
            ("begin_tx", "1".to_owned()),
            ("commit_tx", "1".to_owned()),
            ("end_time", "2025-11-03T18:07:39.056204Z".to_owned()),
            ("grpc_method", "Ydb.Query.V1.QueryService/ExecuteQuery".to_owned()),
            ("start_time", "2025-11-03T18:07:39.054863Z".to_owned()),
        ]);
    } else {
        fields.extend([
            ("operation", "MODIFY ACL".to_owned()),
            ("paths", format!("[/my_dir/db1/some_dir/{}]", dice.hex(12))),
            ("status", "SUCCESS".to_owned()),
            ("detailed_status", "StatusSuccess".to_owned()),
            ("acl_add", "[+(ConnDB):subject:-]".to_owned()),
        ]);
    }
    fields
}

/// YDB's audit stream as JSON, one object a line.
pub(crate) fn ydb_json(records: usize) -> Vec<u8> {
    let mut dice = Dice(3);
    let mut content = Vec::with_capacity(records * 600);
    for number in 0..records {
        let time = format!("2025-11-03T18:{:02}:{:02}.{:06}Z", number / 60 % 60, number % 60, number);
        content.extend_from_slice(format!(r#"{{"@timestamp":"{time}","@log_type":"audit""#).as_bytes());
        for (name, value) in ydb_fields(&mut dice) {
            content.extend_from_slice(format!(r#","{name}":"{value}""#).as_bytes());
        }
        content.extend_from_slice(b"}\n");
    }
    content
}

/// YDB's audit stream as text.
pub(crate) fn ydb_text(records: usize) -> Vec<u8> {
    let mut dice = Dice(3);
    let mut content = Vec::with_capacity(records * 600);
    for number in 0..records {
        let fields: Vec<String> =
            ydb_fields(&mut dice).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let time = format!("2025-11-03T18:{:02}:{:02}.{:06}Z", number / 60 % 60, number % 60, number);
        content.extend_from_slice(format!("{time}: {}\n", fields.join(", ")).as_bytes());
    }
    content
}

/// The schemeshard's lines in YDB's common log, one operation each.
pub(crate) fn ydb_scheme(records: usize) -> Vec<u8> {
    let mut dice = Dice(4);
    let mut content = Vec::with_capacity(records * 600);
    for number in 0..records {
        let table = format!("ledger_{}", dice.hex(8));
        let line = format!(
            "2022-08-03T22:{:02}:{:02}.{:06}Z node {} :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: {}, database: /Root, subject: user{}@builtin, status: StatusAccepted, operation: CREATE TABLE, path: /Root/finance/{table}, protobuf request: WorkingDir: \"/Root/finance\" OperationType: ESchemeOpCreateTable CreateTable {{ Name: \"{table}\" Columns {{ Name: \"key\" Type: \"Utf8\" NotNull: false }} Columns {{ Name: \"amount\" Type: \"Decimal\" NotNull: false }} KeyColumnNames: \"key\" PartitionConfig {{ ColumnFamilies {{ Id: 0 }} }} }} FailOnExist: false\n",
            number / 60 % 60,
            number % 60,
            number,
            dice.roll(20) + 1,
            281_474_976_000_000 + dice.roll(1_000_000),
            dice.roll(500),
        );
        content.extend_from_slice(line.as_bytes());
    }
    content
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
