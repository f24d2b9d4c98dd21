"""Answer requests for images over HTTP: check, queue, draw in batches; no file is written here."""
