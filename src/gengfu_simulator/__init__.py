"""A vendor API to practise on: the wire contract with its quirks, and every fault on a switch."""
