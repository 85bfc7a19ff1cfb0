"""The mesh's certificate authority: its roots and their life, who asks, and what they get."""
