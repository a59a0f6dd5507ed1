"""The functions behind the ``worldmodel`` command; each docstring is a command's help."""
