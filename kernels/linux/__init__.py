"""The mirror: each file bears the name of the Linux source whose behaviour it has."""
