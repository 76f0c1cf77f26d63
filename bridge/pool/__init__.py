"""Which program answers a question, and when programs are started, exchanged and stopped."""
