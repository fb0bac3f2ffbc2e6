"""EmoViews: recognise emotion in speech when only a few recordings are labelled."""

__version__ = "0.1.0"
