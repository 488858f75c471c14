"""One family a file: config.json in, a Spec out."""
