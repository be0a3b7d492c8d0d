"""A PostgreSQL server on this machine that holds the store."""
