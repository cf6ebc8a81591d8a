"""Stories told end to end, against a service that runs."""
