"""How fast the target is, beside what PostgreSQL can take and beside its peers. Start at run.py."""
