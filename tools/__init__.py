"""Tools of this checkout: its development environment, checks and sandbox; nothing of them is shipped."""
