# Adds auditferry to a bucket's notification configuration, and leaves what is there as it is. Run again, it replaces its own entry.
#
#   aws s3api get-bucket-notification-configuration --bucket BUCKET > before.json     # empty where there is none
#   jq --slurp --from-file deploy/notifications.jq --arg to ARN --arg prefix PREFIX/ before.json > after.json
#   aws s3api put-bucket-notification-configuration --bucket BUCKET --notification-configuration file://after.json
#
# `to` is the ARN of a queue or of a topic, or `eventbridge`. An empty `prefix` stands for the whole bucket.

def entry($arn):
  {Id: "auditferry"} + $arn + {Events: ["s3:ObjectCreated:*", "s3:ObjectRestore:Completed"]}
  + if $prefix == "" then {} else {Filter: {Key: {FilterRules: [{Name: "prefix", Value: $prefix}]}}} end;

def without_ours: map(select(.Id != "auditferry"));

(.[0] // {})
| if .QueueConfigurations then .QueueConfigurations |= without_ours else . end
| if .TopicConfigurations then .TopicConfigurations |= without_ours else . end
| if $to == "eventbridge" then .EventBridgeConfiguration = {}
  elif ($to | startswith("arn:") and contains(":sqs:")) then .QueueConfigurations += [entry({QueueArn: $to})]
  elif ($to | startswith("arn:") and contains(":sns:")) then .TopicConfigurations += [entry({TopicArn: $to})]
  else error("to: the ARN of a queue or of a topic, or eventbridge") end
