"""One file of every kind as an outsider writes it today; `tests.frozen.use_plugins` loads and uses each of them.

These files stay as they are: what they import and override is what other people's files import and override.
"""
