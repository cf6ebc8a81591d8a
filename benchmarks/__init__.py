"""Programs that measure, each with a rival in the same run; see README.md."""
