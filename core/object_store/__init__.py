"""Files by digest: bytes that are never changed, only put, read and deleted (DESIGN §8).

`store` is the door. `directory` keeps objects on a local disk, `s3` in a bucket of an S3-compatible store: `s3` knows
the promises, `bucket` the requests and what their answers mean, `patience` how long to try again, `connections` how not to wait. What
is stored here is sealed by its caller.
"""
