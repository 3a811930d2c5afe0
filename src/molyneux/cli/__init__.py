"""The command line: each verb parses, calls one function of the pipeline and prints what it gives."""
