"""What the command line shows: options, progress, tables. Nothing here starts a backend when imported."""
