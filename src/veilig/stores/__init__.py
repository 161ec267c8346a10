"""Where is a ledger kept when not in a file? In PostgreSQL; psycopg is imported when it is needed."""
