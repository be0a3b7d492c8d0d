"""What is claimed (`claims`), races against others (`races`), what both run with (`rig`), and records of both."""
