"""The web server of a system: page, API and streams on one port."""
