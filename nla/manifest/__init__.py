"""The manifest: what is to be done to a checkpoint, decided from a recording alone; no checkpoint is opened here."""
