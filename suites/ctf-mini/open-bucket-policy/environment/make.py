import json, pathlib
place = pathlib.Path("/app/buckets")
place.mkdir()
def put(name, *statements):
    (place / f"{name}.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, indent=1))
def st(effect, who, acts, what="*", **more):
    return {"Effect": effect, "Principal": who, "Action": acts, "Resource": what, **more}
arn = "arn:aws:s3:::"
put("press", st("Allow", "*", "s3:GetObject", arn + "press/*", Condition={"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}))
put("archive", st("Allow", "*", ["s3:Get*"], arn + "archive/*"), st("Deny", "*", "s3:*", arn + "archive/*"))
put("reports", st("Allow", {"AWS": "arn:aws:iam::1:root"}, "s3:*", arn + "reports/*"))
put("images", st("Allow", {"AWS": "*"}, ["s3:ListBucket", "s3:GetO*"], arn + "images/*"), st("Deny", "*", "s3:Put*", "*"))
put("upload", st("Allow", "*", "s3:PutObject", arn + "upload/*"))
put("mirror", st("Allow", "*", "s3:GetObject", arn + "mirror/*"), st("Deny", {"AWS": "*"}, ["s3:GetObject"], arn + "mirror/*"))
put("logs", st("Allow", "*", "s3:GetBucketAcl", arn + "logs"))
