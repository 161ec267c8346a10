"""How do the APIs of models differ, and what is the same in all of them? Pure: bytes in, bytes out."""
