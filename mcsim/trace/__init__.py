"""Recorded boots: reading them, and extracting from them the program that the simulator runs."""
