"""localrun: run large open-weight models on the machine you have, with figures that are true."""

__version__ = "0.1.0"
