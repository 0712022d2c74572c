"""The only door from Python to boots."""
