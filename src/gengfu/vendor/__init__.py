"""The vendor's API: one shared login, and a client that reads its lists as fast as the vendor bears."""
