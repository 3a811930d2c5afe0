"""The errors a user can meet: each names the thing, what was expected, what came, and the next step."""


class MolyneuxError(Exception):
    """Base of every error that Molyneux raises on purpose; its text is one line for a person."""


class ConceptError(MolyneuxError):
    """A concept's name or description cannot be used."""


class ConfigError(MolyneuxError):
    """A setting is out of its range."""


class ModelError(MolyneuxError):
    """A model cannot be found, read or used for what was asked."""


class DataError(MolyneuxError):
    """Images or lists of names cannot be read as expected."""


class OutputError(MolyneuxError):
    """Results cannot be written where they were asked for."""


class HubError(MolyneuxError):
    """The hub cannot be reached, or refuses what was asked."""
