"""Pictures to texts: how a captioner's words are chosen."""
