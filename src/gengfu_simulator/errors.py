"""What the simulator refuses, in a sentence for a person."""


class SimulatorError(Exception):
    """A switch, a control call or a start that makes no sense or cannot be done; the message says which and why."""
