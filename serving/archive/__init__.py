"""Archives: built, checked against training, read, kept in S3."""
