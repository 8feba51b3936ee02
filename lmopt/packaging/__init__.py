"""Folders for other people: formats, reload check, usage script, model card, licences."""
