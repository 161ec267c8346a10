"""Which weaknesses show in files that are not Python? Pattern rules over parsed scripts and configuration."""
