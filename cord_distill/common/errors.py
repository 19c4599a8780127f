"""The one error that users see: a sentence that names the key or file and contains the fix."""


class CordError(Exception):
    """Something the user can mend. The command line prints it as one line, without a traceback, and exits with 2."""
