"""From tasks to outcomes on disk: fan-out over workers, kernel call, store, progress."""
