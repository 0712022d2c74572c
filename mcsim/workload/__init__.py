"""What boots: programs extracted from recordings or written by hand, mixed into one flat program."""
