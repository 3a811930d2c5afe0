"""Run folders: where results go, and how an interrupted run resumes."""
