"""What commands share. Unlike the families, these modules may import what is heavy: they are imported when needed."""
