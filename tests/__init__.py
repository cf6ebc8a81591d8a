"""What Lethe promises, a sentence per test: `unit` mirrors core, `integration` needs Postgres, `acceptance` tells stories."""
