"""The words on the wire. Unknown fields are refused: where law is at stake, a typo must not be ignored."""
