"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake of input, told in one line: what is wrong, where, and what would be right.

    The command line prints the message on stderr without a traceback and exits with code 2.
    """
