"""The operations of the survey's section 6.2: insert, reflect, forget; and revoke, which undoes harm."""
